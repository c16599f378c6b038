"""Count and delete entries of a prediction cache with plain SQLite.

diskcache would write to the folder when it opens it.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CacheError
from .cache import LOCK_TIMEOUT, cache_key, chunk_keys

_DATABASE = "cache.db"
_READ_TIMEOUT = 1.0  # seconds

_ROWS_PER_TRANSACTION = 500  # some ten milliseconds under the write lock
_CHECKPOINT_TIMEOUT_MS = 1_000

_SELECT_KEYS = "SELECT key FROM Cache WHERE raw = 1 AND key IN ({})"

# A quote inside a label is escaped, so that nothing else in a record reads like this.
_SELECT_KEYS_WITH_SCORES = _SELECT_KEYS + """ AND instr(value, '"scores": {{')"""

_COUNT_ENTRIES = """
    SELECT substr(key, 1, instr(key, ':') - 1), COUNT(*), SUM(LENGTH(CAST(value AS BLOB)))
    FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND instr(key, ':') GROUP BY 1
"""

# By key, which has an index: diskcache's evict(tag) reads the whole table under the write lock.
_DELETE_BY_FINGERPRINT = """
    DELETE FROM Cache WHERE rowid IN (
        SELECT rowid FROM Cache WHERE raw = 1 AND key > ? || ':' AND key < ? || ';' LIMIT ?
    )
"""

# A range of rows at a time: each row is read under the write lock.
_DELETE_BY_MODEL = """
    DELETE FROM Cache WHERE rowid > ? AND rowid <= ? AND raw = 1 AND (
        SELECT COUNT(*) FROM json_each(?) WHERE instr(Cache.value, '"' || json_each.value || '"')
    )
"""


@dataclass(frozen=True, slots=True)
class Entries:
    """The number of a pipeline's entries, and the bytes of their records."""

    count: int
    bytes: int


def count_stored_texts(
    folder: Path, fingerprint: str, texts: Iterable[str], *, all_scores: bool = False
) -> int:
    """Return how many of the texts have an entry, without writing.

    Args:
        folder: The cache's folder; one that is missing or cannot be read has no entries.
        fingerprint: The pipeline's.
        texts: Each is counted as often as it occurs.
        all_scores: Whether only entries with the probability of every label count.
    """
    query = _SELECT_KEYS_WITH_SCORES if all_scores else _SELECT_KEYS
    keys = (cache_key(fingerprint, text) for text in texts)
    try:
        return sum(
            _count(folder, query.format(placeholders), chunk)
            for chunk, placeholders in chunk_keys(keys)
        )
    except (OSError, sqlite3.Error):
        return 0


def entries_by_fingerprint(folder: Path) -> dict[str, Entries]:
    """Return the entries of each pipeline in the cache, without writing.

    Args:
        folder: The cache's folder; a missing one holds nothing.

    Raises:
        CacheError: If the cache cannot be read.
    """
    try:
        rows = _query(folder, _COUNT_ENTRIES)
    except FileNotFoundError:
        return {}
    except (OSError, sqlite3.Error) as error:
        raise CacheError(f"{folder}: expected a prediction cache ({error})") from error
    return {fingerprint: Entries(count, size or 0) for fingerprint, count, size in rows}


def drop_entries(folder: Path, fingerprints: Collection[str]) -> int:
    """Delete all entries of these pipelines and return how many there were.

    The write lock is free for at least half of the time, and the file shrinks unless another
    connection keeps reading.

    Args:
        folder: The cache's folder; a missing one holds nothing.
        fingerprints: Those of the pipelines.

    Raises:
        CacheError: If the cache cannot be changed; some entries may be gone.
    """
    return _delete(
        folder,
        lambda database: sum(_delete_by_fingerprint(database, found) for found in fingerprints),
    )


def drop_answers_of(folder: Path, model_uris: Collection[str]) -> int:
    """Delete all entries whose answers name one of these models; return how many there were.

    Equivalent pipelines share their entries, so a fingerprint does not identify a model.

    Args:
        folder: The cache's folder; a missing one holds nothing.
        model_uris: URIs of pipelines or fine-tuned models.

    Raises:
        CacheError: If the cache cannot be changed; some entries may be gone.
    """
    return _delete(
        folder, lambda database: _delete_by_model(database, json.dumps(sorted(model_uris)))
    )


def _delete(folder: Path, delete_rows: Callable[[sqlite3.Connection], int]) -> int:
    try:
        with closing(_connect(folder, "mode=rw", LOCK_TIMEOUT)) as database:
            count = delete_rows(database)
            # The checkpoint keeps writers out while it waits for readers.
            database.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_TIMEOUT_MS}")
            # With auto_vacuum, as diskcache sets it, the file is cut to what is in use.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return count
    except FileNotFoundError:
        return 0
    except (OSError, sqlite3.Error) as error:
        raise CacheError(f"{folder}: expected a prediction cache ({error})") from error


def _delete_by_fingerprint(database: sqlite3.Connection, fingerprint: str) -> int:
    count, deleted = 0, _ROWS_PER_TRANSACTION
    while deleted == _ROWS_PER_TRANSACTION:
        values = (fingerprint, fingerprint, _ROWS_PER_TRANSACTION)
        deleted = _execute_and_pause(database, _DELETE_BY_FINGERPRINT, values)
        count += deleted
    return count


def _delete_by_model(database: sqlite3.Connection, model_uris: str) -> int:
    (last,) = database.execute("SELECT COALESCE(MAX(rowid), 0) FROM Cache").fetchone()
    return sum(
        _execute_and_pause(
            database, _DELETE_BY_MODEL, (first, first + _ROWS_PER_TRANSACTION, model_uris)
        )
        for first in range(0, last, _ROWS_PER_TRANSACTION)
    )


def _execute_and_pause(database: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> int:
    started = time.monotonic()
    count = database.execute(query, values).rowcount
    # SQLite's write lock has no queue: other writers poll for it.
    time.sleep(time.monotonic() - started)
    return count


def _count(folder: Path, query: str, keys: list[str]) -> int:
    found = {key for (key,) in _query(folder, query, keys)}
    return sum(key in found for key in keys)


def _query(folder: Path, query: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    while True:
        in_use = _is_in_use(folder)
        # To read a file that is not open, SQLite would create -shm and -wal. `readonly_shm` is no
        # way out: a cache that this process opens meanwhile could not be written.
        mode = "mode=ro" if in_use else "mode=ro&immutable=1"
        try:
            with closing(_connect(folder, mode, _READ_TIMEOUT)) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.Error:
            # A writer may have opened the file that was read as immutable.
            if in_use or not _is_in_use(folder):
                raise


def _is_in_use(folder: Path) -> bool:
    return all((folder / f"{_DATABASE}{end}").exists() for end in ("-shm", "-wal"))


def _connect(folder: Path, mode: str, timeout: float) -> sqlite3.Connection:
    path = (folder / _DATABASE).absolute()
    if not path.exists():
        raise FileNotFoundError(path)
    return sqlite3.connect(
        f"{path.as_uri()}?{mode}", uri=True, timeout=timeout, isolation_level=None
    )
