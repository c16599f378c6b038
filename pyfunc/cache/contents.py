"""What a prediction cache holds, and dropping a part of it, without opening it as a cache.

diskcache writes when it opens a folder; to look, or to delete, SQLite alone is enough.
"""

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CacheError
from .cache import LOCK_TIMEOUT, in_chunks, key_of

_DATABASE = "cache.db"
_READ_TIMEOUT = 1.0  # seconds

_ROWS_A_TRANSACTION = 500  # some ten milliseconds under the write lock
_CHECKPOINT_TIMEOUT_MS = 1_000

_FIND = "SELECT key FROM Cache WHERE raw = 1 AND key IN ({})"

_ENTRIES = """
    SELECT substr(key, 1, instr(key, ':') - 1), COUNT(*), SUM(LENGTH(CAST(value AS BLOB)))
    FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND instr(key, ':') GROUP BY 1
"""

# By key, which has an index: diskcache's evict(tag) reads the whole table under the write lock.
_DELETE = """
    DELETE FROM Cache WHERE rowid IN (
        SELECT rowid FROM Cache WHERE raw = 1 AND key > ? || ':' AND key < ? || ';' LIMIT ?
    )
"""


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of one pipeline: how many, and the bytes of their records."""

    count: int
    bytes: int


# A range of rows at a time: each has to be read, under the write lock.
_DELETE_NAMING = """
    DELETE FROM Cache WHERE rowid > ? AND rowid <= ? AND raw = 1 AND (
        SELECT COUNT(*) FROM json_each(?) WHERE instr(Cache.value, '"' || json_each.value || '"')
    )
"""


def stored_keys(folder: Path, fingerprint: str, texts: Iterable[str]) -> int:
    """Return how many of the texts have an entry; nothing is written.

    A cache that is missing or cannot be read has none.

    Args:
        folder: The cache's folder.
        fingerprint: The pipeline's.
        texts: Counted as often as they come.
    """
    keys = (key_of(fingerprint, text) for text in texts)
    try:
        return sum(_count(folder, chunk, placeholders) for chunk, placeholders in in_chunks(keys))
    except (OSError, sqlite3.Error):
        return 0


def entries_by_fingerprint(folder: Path) -> dict[str, Entries]:
    """Return what the cache holds of each pipeline; nothing is written.

    Args:
        folder: The cache's folder; a missing one holds nothing.

    Raises:
        CacheError: If the cache cannot be read.
    """
    try:
        rows = _read(folder, _ENTRIES)
    except FileNotFoundError:
        return {}
    except (OSError, sqlite3.Error) as error:
        raise CacheError(f"{folder}: expected a prediction cache ({error})") from error
    return {fingerprint: Entries(count, size or 0) for fingerprint, count, size in rows}


def drop_entries(folder: Path, fingerprints: Collection[str]) -> int:
    """Delete all entries of these pipelines and return how many there were.

    It leaves others the write lock for at least half of the time, and gives the space back to
    the file system unless someone keeps reading.

    Args:
        folder: The cache's folder; a missing one holds nothing.
        fingerprints: Those of the pipelines.

    Raises:
        CacheError: If the cache cannot be changed; some entries may be gone.
    """
    try:
        with closing(_open(folder, "mode=rw", LOCK_TIMEOUT)) as database:
            count = sum(_drop(database, fingerprint) for fingerprint in fingerprints)
            _give_space_back(database)
            return count
    except FileNotFoundError:
        return 0
    except (OSError, sqlite3.Error) as error:
        raise CacheError(f"{folder}: expected a prediction cache ({error})") from error


def drop_answers_of(folder: Path, model_uris: Collection[str]) -> int:
    """Delete all entries whose answers name one of these models; return how many there were.

    Pipelines that must answer alike share their entries, so a fingerprint does not tell.

    Args:
        folder: The cache's folder; a missing one holds nothing.
        model_uris: URIs of pipelines or fine-tuned models.

    Raises:
        CacheError: If the cache cannot be changed; some entries may be gone.
    """
    try:
        with closing(_open(folder, "mode=rw", LOCK_TIMEOUT)) as database:
            count = _drop_naming(database, json.dumps(sorted(model_uris)))
            _give_space_back(database)
            return count
    except FileNotFoundError:
        return 0
    except (OSError, sqlite3.Error) as error:
        raise CacheError(f"{folder}: expected a prediction cache ({error})") from error


def _give_space_back(database: sqlite3.Connection) -> None:
    # While it waits for readers it keeps writers out.
    database.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TIMEOUT_MS}")
    # With auto_vacuum, as diskcache sets it, the file is cut to what is in use.
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _drop_naming(database: sqlite3.Connection, model_uris: str) -> int:
    (last,) = database.execute("SELECT COALESCE(MAX(rowid), 0) FROM Cache").fetchone()
    count = 0
    for first in range(0, last, _ROWS_A_TRANSACTION):
        started = time.monotonic()
        count += database.execute(
            _DELETE_NAMING, (first, first + _ROWS_A_TRANSACTION, model_uris)
        ).rowcount
        time.sleep(time.monotonic() - started)
    return count


def _count(folder: Path, keys: list[str], placeholders: str) -> int:
    found = {key for (key,) in _read(folder, _FIND.format(placeholders), keys)}
    return sum(key in found for key in keys)


def _drop(database: sqlite3.Connection, fingerprint: str) -> int:
    count = 0
    while True:
        started = time.monotonic()
        deleted = database.execute(
            _DELETE, (fingerprint, fingerprint, _ROWS_A_TRANSACTION)
        ).rowcount
        count += deleted
        if deleted < _ROWS_A_TRANSACTION:
            return count
        # SQLite has no queue: who waits looks again now and then.
        time.sleep(time.monotonic() - started)


def _read(folder: Path, query: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    while True:
        in_use = _in_use(folder)
        # Of a file that nobody has open, SQLite would make -shm and -wal even to read it. Not
        # `readonly_shm`: a cache that this process opens meanwhile could not be written.
        mode = "mode=ro" if in_use else "mode=ro&immutable=1"
        try:
            with closing(_open(folder, mode, _READ_TIMEOUT)) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.Error:
            # Someone may have begun to write to what was read as if nobody did.
            if in_use or not _in_use(folder):
                raise


def _in_use(folder: Path) -> bool:
    return all((folder / f"{_DATABASE}{end}").exists() for end in ("-shm", "-wal"))


def _open(folder: Path, mode: str, timeout: float) -> sqlite3.Connection:
    path = (folder / _DATABASE).absolute()
    if not path.exists():
        raise FileNotFoundError(path)
    return sqlite3.connect(
        f"{path.as_uri()}?{mode}", uri=True, timeout=timeout, isolation_level=None
    )
