"""The persistent prediction cache: a diskcache of JSON records, keyed by pipeline and text."""

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

# Seconds to wait for the write lock, which others hold for milliseconds. diskcache's own
# `retry=True` waits for ever: it takes a file that turned read-only for a lock as well.
LOCK_TIMEOUT = 10.0

# From these SQLite does not recover, and each further try could make it worse: noise in the
# index beside the database makes SQLite map memory until the last connection to it is closed.
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PROTOCOL})

# SQLite took at most 999 variables a statement until 3.32.
KEYS_A_STATEMENT = 500

# Values come as bytes: text that is not UTF-8 would fail the whole statement.
_SELECT = (
    f"SELECT key, mode = {MODE_RAW} AND typeof(value) = 'text', CAST(value AS BLOB)"  # noqa: S608
    " FROM Cache WHERE raw = 1 AND key IN ({})"
)


def key_of(fingerprint: str, text: str) -> str:
    """Return the key of a pipeline's answer to a text."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{fingerprint}:{digest}"


def in_chunks(keys: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """Yield the keys in chunks that one statement takes, with its placeholders."""
    rest = iter(keys)
    while chunk := list(islice(rest, KEYS_A_STATEMENT)):
        yield chunk, ",".join("?" * len(chunk))


class TextDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores text inside SQLite and nothing else.

    diskcache's own disks, JSONDisk too, unpickle any row that is marked as a pickle, which
    whoever can write the file can do (CVE-2025-69872).
    """

    def get(self, key: Any, raw: bool) -> str:
        """Return a key as it is; refuse a pickled one."""
        if not raw or not isinstance(key, str):
            self._refuse("key")
        return key

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
        """Return a value as it is; refuse a pickled one or one in a file."""
        if mode != MODE_RAW or not isinstance(value, str):
            self._refuse("value")
        return value

    def remove(self, file_path: str) -> None:
        """Keep a file that a row names: no record is in one, and the name may lead anywhere."""

    def _refuse(self, what: str) -> Never:
        raise ValueError(f"a {what} is not text")


class PredictionCache:
    """Answers of one pipeline, shared by every process that opens the same folder.

    A cache that cannot be opened, read or written costs speed, never the answer: the first
    failure is logged, all are counted. One that cannot be opened, or is damaged, is given up for
    the life of the process; each look-up in it counts as a failure.

    Attributes:
        folder: Where the cache lives.
        fingerprint: Digest of all that can change an answer.
        failures: How often it failed, in all threads of this process.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        *,
        size_limit: int = DEFAULT_SIZE_LIMIT,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        """Open the cache, or go on without one.

        Args:
            folder: Where the cache lives; made if missing.
            fingerprint: Digest of all that can change an answer; part of every key.
            size_limit: Bytes on disk above which the entries stored first are dropped.
            lock_timeout: Seconds to wait for the write lock.
        """
        self.folder = folder
        self._cache: diskcache.Cache | None = None
        self._damaged = False
        self._lock = threading.Lock()
        self._of_thread = threading.local()
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
                # Each thread has a connection; diskcache gives each 32 MiB of cached pages and
                # maps 64 MiB of the file, which the system caches for all of them anyway.
                sqlite_cache_size=_CACHED_PAGES,
                sqlite_mmap_size=0,
                # Inside a transaction the file does not shrink, so that each row stored over
                # the limit would drop ten more, those of the same transaction included.
                cull_limit=0,
            )
        except Exception as error:  # noqa: BLE001 -- what a damaged file raises is diskcache's
            self._report(error)

    @property
    def failures_of_thread(self) -> int:
        """How often it failed in the calling thread."""
        return getattr(self._of_thread, "failures", 0)

    def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
        """Return the stored answers of those `texts` that have one."""
        if self._is_given_up():
            self._count()
            return {}
        texts_by_key = {key_of(self.fingerprint, text): text for text in texts}
        found = {}
        try:
            for key, is_text, value in self._rows(texts_by_key):
                if answer := self._read(is_text, value):
                    found[texts_by_key[key]] = answer
        except Exception as error:  # noqa: BLE001 -- as above
            self._report(error)
        return found

    def store_many(self, answers: Mapping[str, Answer]) -> None:
        """Store answers by text, in one transaction; drop the oldest above the size limit."""
        if self._is_given_up() or not answers:
            return
        try:
            cache = self._opened
            with cache.transact():
                for text, answer in answers.items():
                    key = key_of(self.fingerprint, text)
                    cache.set(key, answer.to_record(), tag=self.fingerprint)
            cache.cull()
        except Exception as error:  # noqa: BLE001 -- as above
            self._report(error)

    def close(self) -> None:
        """Close the files of this process; the next call opens them again."""
        if self._cache is not None:
            self._cache.close()

    @property
    def _opened(self) -> diskcache.Cache:
        assert self._cache is not None  # noqa: S101 -- else it is given up
        return self._cache

    def _is_given_up(self) -> bool:
        if self._damaged:
            self.close()  # each thread has a connection of its own
        return self._damaged or self._cache is None

    def _rows(self, keys: Iterable[str]) -> Iterator[tuple[str, bool, bytes]]:
        for chunk, placeholders in in_chunks(keys):
            # diskcache gets one at a time (https://github.com/grantjenks/python-diskcache/issues/45);
            # this is the connection that it keeps for each thread.
            yield from self._opened._sql(_SELECT.format(placeholders), chunk).fetchall()

    def _read(self, is_text: bool, value: bytes) -> Answer | None:
        try:
            if not is_text:
                raise ValueError("a value is not text")
            return Answer.from_record(value.decode())
        except ValueError as error:  # this record alone
            self._report(error)
            return None

    def _count(self) -> int:
        self._of_thread.failures = self.failures_of_thread + 1
        with self._lock:
            self.failures += 1
            return self.failures

    def _report(self, error: Exception) -> None:
        # The extended codes have the plain one in their lowest byte.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            self._damaged = True
        if self._count() == 1:
            logger.warning(
                "prediction cache %s fails (%s: %s); answers are computed instead; delete the "
                "folder to start a new one",
                self.folder,
                type(error).__name__,
                error,
            )
