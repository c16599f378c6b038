"""A folder that is spoilt, locked, closed or full costs speed and one warning, but no answer."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyfunc.cache.cache import PredictionCache
from tests.pyfunc.cache.contents import ANSWER, CHILD, Ask, cached, database, filled

NOBODY = 65_534  # a user id that owns nothing


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
    assert warning.endswith(
        "are computed instead; end what uses it and delete the folder to start a new one"
    )


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


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    child = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    return child
