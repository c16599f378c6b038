"""Looking into a prediction cache without touching it, and dropping a part of it."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pyfunc.cache.cache import PredictionCache
from pyfunc.cache.contents import (
    Entries,
    _query,
    count_stored_texts,
    drop_entries,
    entries_by_fingerprint,
)
from pyfunc.contract import Answer, Language, Prediction, Provenance
from pyfunc.errors import CacheError
from tasks.common.settings import REPOSITORY

ANSWER = Answer(
    Prediction("positive", 0.97, False), Language("en", True, 0.9), Provenance("fête", "m")
)
RECORD_BYTES = len(ANSWER.to_record().encode())

# A table that takes half a second to read.
NUMBERS = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000000)
"""

TEXTS = [f"text {number}" for number in range(1_234)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a cache?mode=rwc#%20"


def fill(folder: Path, fingerprint: str, texts: list[str]) -> None:
    cache = PredictionCache(folder, fingerprint)
    cache.store_many(dict.fromkeys(texts, ANSWER))
    cache.close()


@pytest.fixture
def filled(folder: Path) -> Path:
    fill(folder, "ours", TEXTS)
    fill(folder, "theirs", TEXTS[:7])
    return folder


def database(folder: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(folder / "cache.db", isolation_level=None))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


# Looking


def test_the_texts_that_have_an_entry_are_counted_as_often_as_they_come(filled: Path) -> None:
    assert count_stored_texts(filled, "ours", iter(TEXTS)) == len(TEXTS)
    assert count_stored_texts(filled, "theirs", TEXTS) == 7
    assert count_stored_texts(filled, "nobody's", TEXTS) == 0
    assert count_stored_texts(filled, "ours", []) == 0
    assert count_stored_texts(filled, "ours", ["Text 1", "text 1 ", "", "\ud800"]) == 0
    assert count_stored_texts(filled, "theirs", ["text 1", "text 8", "text 1"]) == 2


def test_what_each_pipeline_has_is_told_by_count_and_bytes(filled: Path) -> None:
    assert len(ANSWER.to_record()) < RECORD_BYTES
    assert entries_by_fingerprint(filled) == {
        "ours": Entries(len(TEXTS), len(TEXTS) * RECORD_BYTES),
        "theirs": Entries(7, 7 * RECORD_BYTES),
    }


def test_looking_at_a_closed_cache_creates_and_changes_no_file(filled: Path) -> None:
    before = state(filled)
    assert set(before) == {"cache.db"}
    count_stored_texts(filled, "ours", TEXTS)
    entries_by_fingerprint(filled)
    assert state(filled) == before


def test_looking_at_a_cache_in_use_sees_the_latest_and_changes_no_file(folder: Path) -> None:
    cache = PredictionCache(folder, "ours")
    cache.store_many(dict.fromkeys(TEXTS[:5], ANSWER))
    script = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from pyfunc.cache.contents import entries_by_fingerprint, count_stored_texts
folder = Path(sys.argv[1])
print(count_stored_texts(folder, "ours", ["text 1", "text 4", "text 5"]))
print(entries_by_fingerprint(folder)["ours"].count)
"""
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    # In another process: reading the bytes here would let go of this one's locks.
    child = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)
    assert (child.stdout.split(), child.stderr) == (["2", "5"], "")
    after = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    assert after == before
    cache.store_many(dict.fromkeys(TEXTS[:6], ANSWER))
    assert cache.failures == 0


def test_looking_does_not_keep_the_cache_of_this_process_from_writing(filled: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from pyfunc.cache.cache import PredictionCache
cache = PredictionCache(Path(sys.argv[1]), "theirs")
cache.get_many(["a text"])
print("open", flush=True)
sys.stdin.readline()
"""
    slow = f"{NUMBERS} SELECT COUNT(*) FROM Cache UNION ALL SELECT COUNT(*) FROM numbers"
    child = subprocess.Popen(
        [sys.executable, "-c", script, filled],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    assert child.stdout.readline() == "open\n"
    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(_query, filled, slow)
        time.sleep(0.05)
        cache = PredictionCache(filled, "ours")
        cache.store_many({"another": ANSWER})
        assert not looking.done()
        assert looking.result() == [(len(TEXTS) + 7,), (2_000_000,)]
    child.communicate("go\n")
    assert cache.failures == 0


def test_what_fails_because_someone_began_to_write_is_read_again(filled: Path) -> None:
    entries = len(TEXTS) + 7
    # An overflow, as long as nothing was added.
    fails = f"""
        {NUMBERS} SELECT COUNT(*), iif(
            (SELECT COUNT(*) FROM Cache) = {entries}, abs(-9223372036854775808), 'added'
        ) FROM numbers
    """
    with pytest.raises(sqlite3.OperationalError, match="integer overflow"):
        _query(filled, fails)
    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(_query, filled, fails)
        time.sleep(0.05)
        PredictionCache(filled, "ours").store_many({"another": ANSWER})
        assert not looking.done()
        assert looking.result() == [(2_000_000, "added")]


def test_a_cache_that_another_process_left_in_the_lurch_is_seen_with_its_latest(
    folder: Path,
) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from pyfunc.cache.cache import PredictionCache
from pyfunc.contract import Answer, Language, Prediction, Provenance
answer = Answer(Prediction("p", 0.9, False), Language("en", True, 0.9), Provenance("f", "m"))
PredictionCache(Path(sys.argv[1]), "ours").store_many({{"a text": answer}})
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, folder], check=True)
    before = {path.name for path in folder.iterdir()}
    assert count_stored_texts(folder, "ours", ["a text"]) == 1
    assert entries_by_fingerprint(folder)["ours"].count == 1
    assert {path.name for path in folder.iterdir()} == before


def test_a_missing_cache_holds_nothing_and_is_not_made(folder: Path) -> None:
    assert count_stored_texts(folder, "ours", TEXTS) == 0
    assert entries_by_fingerprint(folder) == {}
    assert drop_entries(folder, ["ours"]) == 0
    assert not folder.exists()
    folder.mkdir()
    assert count_stored_texts(folder, "ours", TEXTS) == 0
    assert entries_by_fingerprint(folder) == {}
    assert drop_entries(folder, ["ours"]) == 0
    assert list(folder.iterdir()) == []


def put_noise_over_the_file(folder: Path) -> None:
    (folder / "cache.db").write_bytes(os.urandom(2**16))


def cut_the_file_short(folder: Path) -> None:
    os.truncate(folder / "cache.db", 5_000)


def put_a_folder_in_place_of_the_file(folder: Path) -> None:
    (folder / "cache.db").unlink()
    (folder / "cache.db").mkdir()


def change_the_table(folder: Path) -> None:
    with database(folder) as connection:
        connection.execute("DROP TABLE Cache")


@pytest.mark.parametrize(
    "spoil",
    [
        put_noise_over_the_file,
        cut_the_file_short,
        put_a_folder_in_place_of_the_file,
        change_the_table,
    ],
)
def test_a_damaged_cache_counts_nothing_and_is_an_error_that_names_the_folder(
    filled: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(filled)
    assert count_stored_texts(filled, "ours", TEXTS) == 0
    with pytest.raises(CacheError) as error:
        entries_by_fingerprint(filled)
    assert str(error.value).startswith(f"{filled}: expected a prediction cache (")
    assert "\n" not in str(error.value)
    with pytest.raises(CacheError, match="expected a prediction cache"):
        drop_entries(filled, ["ours"])


def test_a_write_lock_keeps_nobody_from_looking(filled: Path) -> None:
    with database(filled) as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        assert count_stored_texts(filled, "ours", TEXTS) == len(TEXTS)
        assert time.monotonic() - started < 5


def test_a_cache_that_is_locked_for_reading_too_counts_nothing(filled: Path) -> None:
    with database(filled) as other:
        other.execute("SELECT COUNT(*) FROM Cache").fetchall()  # makes -shm and -wal
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM Cache WHERE rowid = 1")
        assert count_stored_texts(filled, "ours", TEXTS) == 0
        with pytest.raises(CacheError, match="database is locked"):
            entries_by_fingerprint(filled)


def test_planted_rows_are_counted_for_nobody(filled: Path) -> None:
    with database(filled) as connection:
        connection.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (x'80', 0, 4, x'80')")
        connection.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (7, 1, 1, 'x')")
        connection.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (x'803a', 1, 1, 'x')")
        connection.execute("INSERT INTO Cache (key, raw, mode, value) VALUES ('x', 1, 1, 'x')")
        connection.execute("UPDATE Cache SET value = NULL WHERE key LIKE 'theirs:%'")
    contents = entries_by_fingerprint(filled)
    assert contents["ours"].count == len(TEXTS)
    assert contents["theirs"] == Entries(7, 0)
    assert len(contents) == 2


# Dropping


def test_what_is_dropped_is_gone_and_the_rest_stays(filled: Path) -> None:
    fill(filled, "oursX", ["a text"])
    assert drop_entries(filled, ["ours", "nobody's", "theirs"]) == len(TEXTS) + 7
    assert entries_by_fingerprint(filled) == {"oursX": Entries(1, RECORD_BYTES)}
    assert drop_entries(filled, ["ours"]) == 0
    assert drop_entries(filled, []) == 0
    assert len(PredictionCache(filled, "oursX").get_many(["a text"])) == 1


def test_diskcache_counts_what_is_left(filled: Path) -> None:
    drop_entries(filled, {"ours"})
    with database(filled) as connection:
        ((count,),) = connection.execute("SELECT value FROM Settings WHERE key = 'count'")
        ((check,),) = connection.execute("PRAGMA integrity_check")
    assert (count, check) == (7, "ok")


def test_the_space_goes_back_to_the_file_system(filled: Path) -> None:
    reader = PredictionCache(filled, "theirs")
    assert len(reader.get_many(TEXTS)) == 7  # it stays open, so that the log is not just deleted
    before = sum(path.stat().st_size for path in filled.iterdir())
    drop_entries(filled, ["ours"])
    sizes = {path.name: path.stat().st_size for path in filled.iterdir()}
    assert sizes["cache.db"] < before / 4
    assert sizes["cache.db-wal"] == 0
    assert len(reader.get_many(TEXTS)) == 7


def test_others_write_while_much_is_dropped(folder: Path) -> None:
    fill(folder, "ours", [str(number) for number in range(20_000)])
    writer = PredictionCache(folder, "theirs")
    waits: list[float] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            started = time.monotonic()
            writer.store_many({str(len(waits)): ANSWER})
            waits.append(time.monotonic() - started)

    thread = threading.Thread(target=write)
    thread.start()
    started = time.monotonic()
    assert drop_entries(folder, ["ours"]) == 20_000
    seconds = time.monotonic() - started
    done.set()
    thread.join()
    assert writer.failures == 0
    assert max(waits) < max(seconds / 2, 0.5)
    assert entries_by_fingerprint(folder)["theirs"].count == len(waits) > 10


def test_a_lock_that_is_never_given_back_is_an_error_that_names_the_folder(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyfunc.cache.contents.LOCK_TIMEOUT", 0.1)
    with database(filled) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheError, match="database is locked"):
            drop_entries(filled, ["ours"])
    assert drop_entries(filled, ["ours"]) == len(TEXTS)


def test_a_planted_file_name_removes_no_file(filled: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    with database(filled) as connection:
        connection.execute("UPDATE Cache SET filename = '../victim', mode = 2")
    assert drop_entries(filled, ["ours"]) == len(TEXTS)
    assert victim.exists()
