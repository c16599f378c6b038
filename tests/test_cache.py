import json
import logging
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfunc.cache import PredictionCache, TextDisk
from pyfunc.classifier import Classifier
from pyfunc.contract import Answer, Language, Prediction, Provenance
from pyfunc.errors import SettingError
from pyfunc.language import LanguageDetector
from pyfunc.pipeline import InferencePipeline, open_pipeline
from pyfunc.settings import prediction_cache_folder, prediction_cache_size_limit
from tasks.settings import REPOSITORY
from tests.builders import ask_pipeline, build_artifact, one_torch_thread, torch_classifier

TEXTS = ["Great movie", "what a disappointing movie", "很好看的电影"]

PROVENANCE = Provenance("models:/dl_finetuned_model/3", "models:/m-1")
ANSWER = Answer(Prediction("positive", 0.97, False), Language("en", True, 0.9), PROVENANCE)

VARIABLE = "MILLSTREAM_CACHE_SIZE_LIMIT"

NOBODY = 65_534  # a user id that owns nothing

CHILD = f"""
import logging, os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from pyfunc.cache import PredictionCache
from pyfunc.contract import Answer, Language, Prediction, Provenance
logging.basicConfig(format="%(levelname)s")
answer = Answer(
    Prediction("positive", 0.97, False), Language("en", True, 0.9), Provenance("f", "m")
)
folder = Path(sys.argv[1])
"""

Ask = Callable[[PredictionCache], list[dict[str, Any]]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Classifier:
    return torch_classifier(tiny_classifier)


@pytest.fixture(scope="module")
def ask(classifier: Classifier) -> Ask:
    """Asks a pipeline with a given cache about `TEXTS`."""
    detector = LanguageDetector()
    return lambda cache: ask_pipeline(
        InferencePipeline(classifier, detector, cache, PROVENANCE), TEXTS
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def right(ask: Ask, tmp_path: Path) -> list[dict[str, Any]]:
    """What a pipeline answers whose cache is empty and works."""
    return ask(PredictionCache(tmp_path / "another cache", "f"))


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]


def database(folder: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(folder / "cache.db", isolation_level=None))


def cached(documents: list[dict[str, Any]]) -> list[bool]:
    return [document["metadata"]["cached"] for document in documents]


def filled(folder: Path, ask: Ask) -> None:
    cache = PredictionCache(folder, "f")
    ask(cache)
    assert len(cache.get_many(TEXTS)) == len(TEXTS)
    cache.close()


# What is stored


def test_an_answer_stored_is_an_answer_found_by_whoever_opens_the_folder(folder: Path) -> None:
    writer, reader = PredictionCache(folder, "f"), PredictionCache(folder, "f")
    writer.store_many({"a text": ANSWER})
    assert reader.get_many(["a text", "another"]) == {"a text": ANSWER}
    assert writer.failures == reader.failures == 0


def test_another_fingerprint_sees_nothing_and_overwrites_nothing(folder: Path) -> None:
    ours, theirs = PredictionCache(folder, "ours"), PredictionCache(folder, "theirs")
    ours.store_many({"a text": ANSWER})
    assert theirs.get_many(["a text"]) == {}
    theirs.store_many({"a text": Answer(ANSWER.prediction, ANSWER.language, Provenance("x", "y"))})
    assert ours.get_many(["a text"]) == {"a text": ANSWER}


def test_texts_that_differ_in_anything_are_different(folder: Path) -> None:
    cache = PredictionCache(folder, "f")
    cache.store_many({"Great movie": ANSWER})
    others = ["great movie", "Great movie ", "Great  movie", "Great movie\0", "Great movi", ""]
    assert cache.get_many(others) == {}


def test_versions_with_equal_fingerprints_share_answers_that_name_who_computed_them(
    classifier: Classifier, folder: Path
) -> None:
    detector = LanguageDetector()
    versions = [
        InferencePipeline(
            classifier, detector, PredictionCache(folder, "f"), Provenance(f"f/{name}", f"m/{name}")
        )
        for name in ("first", "second")
    ]
    first, second = (ask_pipeline(version, TEXTS) for version in versions)
    assert cached(first) == [False] * 3
    assert cached(second) == [True] * 3
    assert [document["model_metadata"] for document in second] == [
        {"finetuned_model_uri": "f/first", "inference_pipeline_model_uri": "m/first"}
    ] * 3


def test_records_are_json_that_sqlite_alone_can_read(folder: Path) -> None:
    PredictionCache(folder, "f").store_many({"a text": ANSWER})
    with database(folder) as connection:
        rows = connection.execute("SELECT key, value, typeof(value), mode, filename FROM Cache")
        ((key, value, kind, mode, filename),) = rows.fetchall()
    assert key.startswith("f:")
    assert "a text" not in key + value
    assert (kind, mode, filename) == ("text", diskcache.core.MODE_RAW, None)
    assert json.loads(value)["prediction"] == {
        "label": "positive",
        "score": 0.97,
        "truncated": False,
    }


def test_above_the_size_limit_the_answers_stored_first_go_and_the_last_ones_stay(
    folder: Path,
) -> None:
    limit = 2**20
    cache = PredictionCache(folder, "f", size_limit=limit)
    batches = [[f"{batch}-{row}" for row in range(500)] for batch in range(8)]
    for batch in batches:
        cache.store_many(dict.fromkeys(batch, ANSWER))
        assert len(cache.get_many(batch)) == len(batch)
        cache.get_many(batches[0])  # a look-up keeps nothing
    kept = [len(cache.get_many(batch)) for batch in batches]
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert sum(kept) > 1_000
    cache.close()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= limit + 2**16
    assert cache.failures == 0


def test_a_look_up_asks_the_database_once_for_500_texts(folder: Path) -> None:
    cache = PredictionCache(folder, "f")
    texts = [str(row) for row in range(1_001)]
    cache.store_many(dict.fromkeys(texts, ANSWER))
    asked: list[str] = []
    cache._cache._con.set_trace_callback(asked.append)  # type: ignore[union-attr]
    assert cache.get_many(texts) == dict.fromkeys(texts, ANSWER)
    assert len(asked) == 3
    assert cache.get_many([]) == {}
    assert len(asked) == 3


@given(st.sets(st.integers(0, 2_000)), st.lists(st.integers(0, 2_000)))
@settings(deadline=None, max_examples=25)
def test_what_is_stored_and_asked_for_is_found(stored: set[int], asked: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        cache = PredictionCache(Path(name), "f")
        cache.store_many({f"{row}": ANSWER for row in stored})
        found = cache.get_many(str(row) for row in asked)
        cache.close()
    assert found == {str(row): ANSWER for row in asked if row in stored}


# Where it is stored


def test_the_folder_is_that_of_the_configuration_else_of_the_home_else_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))
    given = {"cache_dir": str(tmp_path / "given")}
    assert prediction_cache_folder(given) == tmp_path / "given"
    for nothing in (None, {}, {"cache_dir": ""}, {"cache_dir": None}):
        assert prediction_cache_folder(nothing) == tmp_path / "home" / "prediction-cache"
    monkeypatch.delenv("MILLSTREAM_HOME")
    assert prediction_cache_folder(None) == tmp_path / "user" / "millstream" / "prediction-cache"


def test_the_size_limit_is_that_of_the_configuration_else_of_the_variable_else_2_gib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "3000000")
    assert prediction_cache_size_limit({"cache_size_limit": 2**20}) == 2**20
    assert prediction_cache_size_limit({"cache_size_limit": "1048577"}) == 2**20 + 1
    for nothing in (None, {}, {"cache_size_limit": ""}, {"cache_size_limit": None}):
        assert prediction_cache_size_limit(nothing) == 3_000_000
    monkeypatch.setenv(VARIABLE, "")
    assert prediction_cache_size_limit(None) == 2 * 2**30
    monkeypatch.delenv(VARIABLE)
    assert prediction_cache_size_limit(None) == 2 * 2**30


@pytest.mark.parametrize(
    "value",
    [0, 2**20 - 1, -(2**21), 2e6, True, [], "much", "2 GiB", "2e6", "-2000000", " ", "²", 10**30],
)
def test_a_size_limit_that_is_no_whole_number_of_a_mebibyte_or_more_is_named(
    monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setenv(VARIABLE, "3000000")
    with pytest.raises(SettingError, match=r"^cache_size_limit: expected a whole number of bytes"):
        prediction_cache_size_limit({"cache_size_limit": value})


@pytest.mark.parametrize("value", ["0", "1048575", "2.5", "much", "9" * 5_000])
def test_a_size_limit_that_is_bad_in_the_variable_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(SettingError, match=f"^{VARIABLE}: expected .*at least 1048576"):
        prediction_cache_size_limit({"cache_size_limit": ""})


def test_a_pipeline_keeps_to_the_size_limit_that_it_is_opened_with(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    artifact = build_artifact(tmp_path / "artifact", tiny_classifier)
    config = {"cache_dir": str(tmp_path / "cache"), "cache_size_limit": 2**21}
    open_pipeline(artifact, model_uri="models:/m", model_config=config)
    with database(tmp_path / "cache") as connection:
        query = "SELECT value FROM Settings WHERE key = 'size_limit'"
        assert connection.execute(query).fetchall() == [(2**21,)]
    with pytest.raises(SettingError, match="cache_size_limit"):
        open_pipeline(
            artifact, model_uri="models:/m", model_config=config | {"cache_size_limit": 7}
        )


# What is in the way


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._target),)


def plant_a_pickled_value(folder: Path, bomb: bytes) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET mode = 4, value = ?", (bomb,))


def plant_a_pickled_file(folder: Path, bomb: bytes) -> None:
    (folder / "bomb.val").write_bytes(bomb)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET mode = 4, filename = 'bomb.val', value = NULL")


def plant_pickled_bytes_as_text(folder: Path, bomb: bytes) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = ?", (bomb,))


@pytest.mark.parametrize(
    "plant", [plant_a_pickled_value, plant_a_pickled_file, plant_pickled_bytes_as_text]
)
def test_a_planted_pickle_is_not_loaded_and_costs_a_computation(
    ask: Ask,
    folder: Path,
    tmp_path: Path,
    right: list[dict[str, Any]],
    plant: Callable[[Path, bytes], None],
) -> None:
    filled(folder, ask)
    plant(folder, pickle.dumps(Bomb(tmp_path / "loaded")))
    cache = PredictionCache(folder, "f")
    assert ask(cache) == right
    assert cache.failures == len(TEXTS)
    assert cached(ask(cache)) == [True] * 3
    assert not (tmp_path / "loaded").exists()


def test_a_planted_pickled_key_is_not_loaded(ask: Ask, folder: Path, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "loaded"))
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute(
            "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 'x')", [bomb]
        )
    assert cached(ask(PredictionCache(folder, "f"))) == [True] * 3
    with pytest.raises(ValueError, match="a key is not text"):
        list(diskcache.Cache(folder, disk=TextDisk))
    assert not (tmp_path / "loaded").exists()


def test_a_planted_file_name_removes_no_file(ask: Ask, folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET filename = '../victim', mode = 2")
    ask(PredictionCache(folder, "f"))
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET filename = '../victim', mode = 2")
    small = PredictionCache(folder, "f", size_limit=1)
    small.store_many({"a text": ANSWER})
    assert small.get_many(["a text"]) == {}
    assert victim.exists()


@pytest.mark.parametrize(
    "record", ["", "garbage", "[]", "{}", '{"prediction": {}}', "[" * 100_000, 7, None, b"\xff"]
)
def test_a_record_of_another_shape_costs_a_computation_and_is_mended(
    ask: Ask,
    folder: Path,
    right: list[dict[str, Any]],
    warnings: Callable[[], list[str]],
    record: object,
) -> None:
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = ?", (record,))
    cache = PredictionCache(folder, "f")
    assert ask(cache) == right
    assert cache.failures == len(TEXTS)
    assert len(warnings()) == 1
    assert cached(ask(cache)) == [True] * 3


BAD_RECORDS = {
    "garbage": "'garbage'",
    "text that is not UTF-8": "CAST(x'7bff' AS TEXT)",
    "a number": "7",
    "bytes": "x'7b7d'",
    "nothing": "NULL",
}


@pytest.mark.parametrize("record", BAD_RECORDS.values(), ids=list(BAD_RECORDS))
def test_one_bad_record_costs_its_own_row_alone(ask: Ask, folder: Path, record: str) -> None:
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute(f"UPDATE Cache SET value = {record} WHERE rowid = 2")
    cache = PredictionCache(folder, "f")
    assert sorted(cached(ask(cache))) == [False, True, True]
    assert cache.failures == 1


@pytest.mark.parametrize("mode", ["0", "2", "3", "4", "NULL", "'text'", "CAST(x'ff' AS TEXT)"])
def test_text_in_any_mode_but_raw_is_refused(ask: Ask, folder: Path, mode: str) -> None:
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute(f"UPDATE Cache SET mode = {mode} WHERE rowid = 2")
    cache = PredictionCache(folder, "f")
    assert sorted(cached(ask(cache))) == [False, True, True]
    assert cache.failures == 1


def test_a_key_that_is_not_raw_is_not_found(folder: Path) -> None:
    PredictionCache(folder, "f").store_many({"a text": ANSWER})
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET raw = 0")
    cache = PredictionCache(folder, "f")
    assert cache.get_many(["a text"]) == {}
    assert cache.failures == 0


def put_noise_over_the_file(folder: Path) -> None:
    (folder / "cache.db").write_bytes(os.urandom(2**16))


def put_noise_into_the_pages(folder: Path) -> None:
    with (folder / "cache.db").open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(2**16))


def cut_the_file_short(folder: Path) -> None:
    os.truncate(folder / "cache.db", 5_000)


def put_a_file_in_place_of_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def put_a_folder_in_place_of_the_file(folder: Path) -> None:
    (folder / "cache.db").unlink()
    (folder / "cache.db").mkdir()


def change_the_table(folder: Path) -> None:
    with database(folder) as connection:
        connection.execute("ALTER TABLE Cache RENAME COLUMN value TO worth")


def add_a_setting(folder: Path) -> None:
    with database(folder) as connection:
        connection.execute("INSERT INTO Settings VALUES ('disk_surprise', 1)")


SPOILERS = [
    put_noise_over_the_file,
    put_noise_into_the_pages,
    cut_the_file_short,
    put_a_file_in_place_of_the_folder,
    put_a_folder_in_place_of_the_file,
    change_the_table,
    add_a_setting,
]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_spoilt_cache_costs_speed_and_one_warning_but_no_answer(
    ask: Ask,
    folder: Path,
    right: list[dict[str, Any]],
    warnings: Callable[[], list[str]],
    spoil: Callable[[Path], None],
) -> None:
    filled(folder, ask)
    spoil(folder)
    cache = PredictionCache(folder, "f")
    assert ask(cache) == right
    assert ask(cache) == right
    assert cache.failures >= 1
    (warning,) = warnings()
    assert f"prediction cache {folder} fails" in warning
    assert warning.endswith("are computed instead; delete the folder to start a new one")


def test_a_folder_that_cannot_be_made_costs_speed_and_one_warning_but_no_answer(
    ask: Ask, folder: Path, right: list[dict[str, Any]], warnings: Callable[[], list[str]]
) -> None:
    folder.write_text("a file")
    cache = PredictionCache(folder / "inside a file", "f")
    assert ask(cache) == ask(cache) == right
    assert cache.failures == 3  # it was not opened, and then asked twice
    assert len(warnings()) == 1


def remove_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def remove_the_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("spoil", [remove_the_folder, remove_the_files, put_noise_over_the_file])
def test_a_cache_spoilt_while_it_is_open_costs_speed_and_one_warning_but_no_answer(
    ask: Ask,
    folder: Path,
    right: list[dict[str, Any]],
    warnings: Callable[[], list[str]],
    spoil: Callable[[Path], None],
) -> None:
    cache = PredictionCache(folder, "f")
    ask(cache)
    cache.close()  # what other threads have open is theirs
    spoil(folder)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(ask, cache).result() == right
        assert thread.submit(ask, cache).result() == right
    assert cache.failures >= 2
    assert len(warnings()) == 1


def test_a_file_that_is_cut_short_while_it_is_open_does_not_end_the_process(folder: Path) -> None:
    script = f"""{CHILD}
texts = [str(row) for row in range(1_000)]
writer = PredictionCache(folder, "f")
writer.store_many(dict.fromkeys(texts, answer))
writer.close()
cache = PredictionCache(folder, "f")
assert len(cache.get_many(texts[:10])) == 10, "before"
os.truncate(folder / "cache.db", 8_192)
print(len(cache.get_many(texts)) < 1_000, cache.failures)
"""
    assert _run(script, folder).stdout == "True 1\n"


@pytest.mark.parametrize("spoil", [remove_the_folder, remove_the_files])
def test_a_thread_that_has_the_removed_file_open_goes_on_with_it(
    ask: Ask, folder: Path, right: list[dict[str, Any]], spoil: Callable[[Path], None]
) -> None:
    cache = PredictionCache(folder, "f")
    assert ask(cache) == right
    spoil(folder)
    answers = ask(cache)
    assert [document["response"] for document in answers] == [row["response"] for row in right]


def test_a_lock_that_is_never_given_back_costs_a_wait_but_no_answer(
    ask: Ask, folder: Path, right: list[dict[str, Any]], warnings: Callable[[], list[str]]
) -> None:
    cache = PredictionCache(folder, "f", lock_timeout=0.1)
    with database(folder) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert ask(cache) == right
        assert time.monotonic() - started < 10
    assert cache.failures == 1
    assert len(warnings()) == 1
    assert cached(ask(cache)) == [False] * 3
    assert cached(ask(cache)) == [True] * 3


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="millstream-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("filled_before", [False, True], ids=["new", "filled"])
def test_a_cache_that_may_not_be_written_costs_speed_and_one_warning(
    open_to_all: Path, filled_before: bool
) -> None:
    if filled_before:
        cache = PredictionCache(open_to_all, "f")
        cache.store_many({"a text": ANSWER})
        cache.close()
        for path in open_to_all.iterdir():
            path.chmod(0o444)
    open_to_all.chmod(0o555)
    # Root may write everywhere, and may become someone who may not.
    become = f"os.setuid({NOBODY})" if os.getuid() == 0 else "pass"
    script = f"""{CHILD}
{become}
cache = PredictionCache(folder, "f")
print(cache.get_many(["a text"]))
cache.store_many({{"a text": answer}})
print(cache.get_many(["a text"]), cache.failures)
"""
    child = _run(script, open_to_all)
    assert child.stdout.splitlines() == ["{}", "{} 3"]
    assert child.stderr.splitlines() == ["WARNING"]


def test_a_cache_that_turns_read_only_while_it_is_open_costs_no_answer(open_to_all: Path) -> None:
    script = f"""{CHILD}
cache = PredictionCache(folder, "f")
cache.store_many({{"a text": answer}})
cache.close()
for path in [folder, *folder.iterdir()]:
    path.chmod(0o555)
if os.getuid() == 0:
    os.setuid({NOBODY})
cache.store_many({{"another": answer}})
print(cache.get_many(["another"]), cache.failures)
"""
    child = _run(script, open_to_all)
    assert child.stdout.startswith("{} ")
    assert child.stderr.splitlines() == ["WARNING"]


def test_a_full_disk_costs_no_answer_and_leaves_no_lock(open_to_all: Path) -> None:
    script = f"""{CHILD}
import resource
cache = PredictionCache(folder, "f")
most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most[1]))
cache.store_many({{str(row): answer for row in range(5_000)}})
print(len(cache.get_many(map(str, range(5_000)))), cache.failures)
resource.setrlimit(resource.RLIMIT_FSIZE, most)
PredictionCache(folder, "f").store_many({{"a text": answer}})
print(len(cache.get_many(["a text"])))
"""
    child = _run(script, open_to_all)
    assert child.stdout.splitlines() == ["0 1", "1"]
    assert child.stderr.splitlines() == ["WARNING"]


# Who else is there


def test_processes_that_open_a_new_cache_at_once_and_fill_it_all_find_their_answers(
    folder: Path,
) -> None:
    script = f"""{CHILD}
print("ready", flush=True)
sys.stdin.readline()
cache = PredictionCache(folder, "f")
for batch in range(10):
    texts = [f"{{sys.argv[2]}}-{{batch}}-{{row}}" for row in range(50)]
    cache.store_many(dict.fromkeys(texts, answer))
    assert len(cache.get_many(texts)) == 50
assert cache.failures == 0
"""
    names = ["a", "b", "c", "d"]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outputs = [child.communicate(timeout=60) for child in children]
    assert [
        (child.returncode, *output) for child, output in zip(children, outputs, strict=True)
    ] == [(0, "", "")] * len(children)
    texts = [f"{name}-{batch}-{row}" for name in names for batch in range(10) for row in range(50)]
    assert len(PredictionCache(folder, "f").get_many(texts)) == len(texts)


def test_threads_share_a_cache(folder: Path) -> None:
    cache = PredictionCache(folder, "f")

    def work(name: int) -> int:
        texts = [f"{name}-{row}" for row in range(50)]
        for start in range(0, 50, 10):
            cache.store_many(dict.fromkeys(texts[start : start + 10], ANSWER))
        return len(cache.get_many(texts))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(16))) == [50] * 16
    assert cache.failures == 0


def test_a_thread_knows_its_own_failures(folder: Path) -> None:
    cache = PredictionCache(folder, "f")
    cache.store_many({"a": ANSWER, "b": ANSWER, "c": ANSWER})
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = 'garbage'")
    barrier = threading.Barrier(3)

    def work(texts: str) -> int:
        barrier.wait(30)
        cache.get_many(texts)
        barrier.wait(30)
        return cache.failures_of_thread

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, ["", "a", "bc"])) == [0, 1, 2]
    assert (cache.failures, cache.failures_of_thread) == (3, 0)


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    child = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    return child
