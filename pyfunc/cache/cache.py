"""Persistent prediction cache on disk (diskcache, SQLite): JSON records by pipeline and text."""

import hashlib
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Never

import diskcache
from diskcache.core import MODE_RAW

from ..contract import Answer
from .settings import DEFAULT_SIZE_LIMIT

logger = logging.getLogger("pyfunc.cache")

# Records stay inside SQLite: a file of its own pays off from about 32 KiB, they have 0.4.
_MAX_RECORD_BYTES = 2**20

_CACHED_PAGES = 512  # of 4 KiB each

# Seconds to wait for the write lock, which is held for milliseconds. diskcache's own `retry=True`
# would wait for ever on a file that turned read-only.
LOCK_TIMEOUT = 10.0

# SQLite does not recover from these, and a retry can make it worse: after a damaged -shm index it
# maps memory until the last connection is closed.
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PROTOCOL})

# SQLite took at most 999 variables a statement until 3.32.
_KEYS_PER_STATEMENT = 500

# Values come as bytes: text that is not UTF-8 would fail the whole statement.
_SELECT = (
    f"SELECT key, mode = {MODE_RAW} AND typeof(value) = 'text', CAST(value AS BLOB)"  # noqa: S608
    " FROM Cache WHERE raw = 1 AND key IN ({})"
)


def cache_key(fingerprint: str, text: str) -> str:
    """Return the key of a pipeline's answer to a text."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{fingerprint}:{digest}"


def chunk_keys(keys: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """Yield the keys in chunks for one SQL statement each, with its placeholders."""
    rest = iter(keys)
    while chunk := list(islice(rest, _KEYS_PER_STATEMENT)):
        yield chunk, ",".join("?" * len(chunk))


class TextDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores text inside SQLite and nothing else: no pickles, no files.

    diskcache's own disks, JSONDisk too, unpickle any row that is marked as a pickle
    (CVE-2025-69872).
    """

    def get(self, key: Any, raw: bool) -> str:
        """Return a key; raise ValueError if it is pickled."""
        if not raw or not isinstance(key, str):
            self._refuse("key")
        return key

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
        """Return a value; raise ValueError if it is pickled or in a file."""
        if mode != MODE_RAW or not isinstance(value, str):
            self._refuse("value")
        return value

    def remove(self, file_path: str) -> None:
        """Delete nothing: no record is in a file, and the path of a row may be forged."""

    def _refuse(self, what: str) -> Never:
        raise ValueError(f"a {what} is not text")


class PredictionCache:
    """Answers of one pipeline, shared by every process that opens the same folder.

    Errors of the cache never reach the caller: answers are computed instead. The first failure is
    logged, all are counted. A cache that cannot be opened, or is damaged, is disabled for the life
    of the process; each look-up in it counts as a failure.

    Attributes:
        folder: The cache's folder.
        fingerprint: Digest of all that can change an answer.
        failures: Failures in all threads of this process.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        *,
        size_limit: int = DEFAULT_SIZE_LIMIT,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        """Open the cache; disable it if that fails.

        Args:
            folder: The cache's folder; created if missing.
            fingerprint: Digest of all that can change an answer; part of every key.
            size_limit: Bytes on disk above which the oldest entries are dropped.
            lock_timeout: Seconds to wait for the write lock.
        """
        self.folder = folder
        self._cache: diskcache.Cache | None = None
        self._damaged = False
        self._lock = threading.Lock()
        self._thread_state = threading.local()
        self.fingerprint = fingerprint
        self.failures = 0
        try:
            self._cache = diskcache.Cache(
                folder,
                timeout=lock_timeout,
                disk=TextDisk,
                disk_min_file_size=_MAX_RECORD_BYTES,
                # The other policies that evict write on every read.
                eviction_policy="least-recently-stored",
                size_limit=size_limit,
                # diskcache's defaults for each thread's connection are 32 MiB of cached pages
                # and 64 MiB of mapped file, which the system caches for all of them anyway.
                sqlite_cache_size=_CACHED_PAGES,
                sqlite_mmap_size=0,
                # The file does not shrink inside a transaction: with culling, each row stored
                # above the limit would drop ten others, those just stored included.
                cull_limit=0,
            )
        except Exception as error:  # noqa: BLE001 -- a damaged file raises anything
            self._report_failure(error)

    @property
    def failures_of_thread(self) -> int:
        """Failures in the calling thread."""
        return getattr(self._thread_state, "failures", 0)

    def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
        """Return the stored answers of those `texts` that have one."""
        if (cache := self._usable_cache) is None:
            self._count_failure()
            return {}
        texts_by_key = {cache_key(self.fingerprint, text): text for text in texts}
        found = {}
        try:
            for key, is_text, value in _select_rows(cache, texts_by_key):
                if answer := self._decode_record(is_text, value):
                    found[texts_by_key[key]] = answer
        except Exception as error:  # noqa: BLE001 -- as above
            self._report_failure(error)
        return found

    def store_many(self, answers: Mapping[str, Answer]) -> None:
        """Store answers by text, in one transaction; drop the oldest above the size limit."""
        if (cache := self._usable_cache) is None or not answers:
            return
        try:
            with cache.transact():
                for text, answer in answers.items():
                    key = cache_key(self.fingerprint, text)
                    cache.set(key, answer.to_record(), tag=self.fingerprint)
            cache.cull()
        except Exception as error:  # noqa: BLE001 -- as above
            self._report_failure(error)

    def close(self) -> None:
        """Close the files of this process; the next call opens them again."""
        if self._cache is not None:
            self._cache.close()

    @property
    def _usable_cache(self) -> diskcache.Cache | None:
        if self._damaged:
            self.close()  # the connection of this thread
            return None
        return self._cache

    def _decode_record(self, is_text: bool, value: bytes) -> Answer | None:
        try:
            if not is_text:
                raise ValueError("a value is not text")
            return Answer.from_record(value.decode())
        except ValueError as error:
            self._report_failure(error)
            return None

    def _count_failure(self) -> int:
        self._thread_state.failures = self.failures_of_thread + 1
        with self._lock:
            self.failures += 1
            return self.failures

    def _report_failure(self, error: Exception) -> None:
        # Extended error codes have the primary one in their lowest byte.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            self._damaged = True
        if self._count_failure() == 1:
            logger.warning(
                "prediction cache %s fails (%s: %s); answers are computed instead; end what uses "
                "it and delete the folder to start a new one",
                self.folder,
                type(error).__name__,
                error,
            )


def _select_rows(cache: diskcache.Cache, keys: Iterable[str]) -> Iterator[tuple[str, bool, bytes]]:
    for chunk, placeholders in chunk_keys(keys):
        # diskcache's own `get` reads one key at a time
        # (https://github.com/grantjenks/python-diskcache/issues/45).
        yield from cache._sql(_SELECT.format(placeholders), chunk).fetchall()
