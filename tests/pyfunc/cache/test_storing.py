"""What is stored is found, by whoever opens the folder and at the same time as others."""

import json
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diskcache
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfunc.cache.cache import PredictionCache
from pyfunc.classifier import Classifier
from pyfunc.composition.composition import Composition
from pyfunc.contract import Answer, Provenance
from pyfunc.detectors.selection import open_detector
from pyfunc.pipeline import InferencePipeline
from tests.pyfunc.cache.contents import ANSWER, CHILD, TEXTS, cached, database
from tests.support.builders import ask_pipeline

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
    detector = open_detector()
    versions = [
        InferencePipeline(
            Composition.of(classifier, Provenance(f"f/{name}", f"m/{name}")),
            detector,
            PredictionCache(folder, "f"),
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
@settings(max_examples=25)
def test_what_is_stored_and_asked_for_is_found(stored: set[int], asked: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        cache = PredictionCache(Path(name), "f")
        cache.store_many({f"{row}": ANSWER for row in stored})
        found = cache.get_many(str(row) for row in asked)
        cache.close()
    assert found == {str(row): ANSWER for row in asked if row in stored}


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
