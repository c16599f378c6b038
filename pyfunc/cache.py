"""The persistent prediction cache: a diskcache of JSON records, keyed by pipeline and text."""

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Never

import diskcache
from diskcache.core import MODE_RAW

from .contract import Answer

logger = logging.getLogger("pyfunc.cache")

DEFAULT_SIZE_LIMIT = 2 * 2**30  # bytes

# Records stay inside SQLite: a file of its own pays off from about 32 KiB, they have 0.4.
_MAX_RECORD_BYTES = 2**20

_CACHE_ERRORS = (sqlite3.Error, OSError, diskcache.Timeout)


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

    def _refuse(self, what: str) -> Never:
        raise sqlite3.DataError(f"{self._directory}: a {what} is not text")


class PredictionCache:
    """Answers of one pipeline, shared by every process that opens the same folder.

    A cache that cannot be opened, read or written costs speed, never the answer: the first
    failure is logged, all are counted in `failures`.
    """

    def __init__(
        self, folder: Path, fingerprint: str, *, size_limit: int = DEFAULT_SIZE_LIMIT
    ) -> None:
        """Open the cache, or go on without one.

        Args:
            folder: Where the cache lives; made if missing.
            fingerprint: Digest of all that can change an answer; part of every key.
            size_limit: Bytes on disk above which the entries stored first are dropped.
        """
        self._folder = folder
        self._fingerprint = fingerprint
        self._cache: diskcache.Cache | None = None
        self.failures = 0
        try:
            self._cache = diskcache.Cache(
                folder,
                disk=TextDisk,
                disk_min_file_size=_MAX_RECORD_BYTES,
                # The other policies that evict write on every read.
                eviction_policy="least-recently-stored",
                size_limit=size_limit,
            )
        except _CACHE_ERRORS as error:
            self._report(error)

    def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
        """Return the stored answers of those `texts` that have one."""
        if self._cache is None:
            return {}
        found = {}
        for text in texts:
            try:
                record = self._cache.get(self._key(text), retry=True)
                if record is not None:
                    found[text] = Answer.from_record(record)
            except (*_CACHE_ERRORS, ValueError, KeyError, TypeError) as error:
                self._report(error)
        return found

    def store_many(self, answers: Mapping[str, Answer]) -> None:
        """Store answers by text, in one transaction."""
        if self._cache is None or not answers:
            return
        try:
            with self._cache.transact(retry=True):
                for text, answer in answers.items():
                    self._cache.set(self._key(text), answer.to_record(), tag=self._fingerprint)
        except _CACHE_ERRORS as error:
            self._report(error)

    def close(self) -> None:
        """Close the files of this process; the next call opens them again."""
        if self._cache is not None:
            self._cache.close()

    def _key(self, text: str) -> str:
        return f"{self._fingerprint}:{hashlib.sha256(text.encode()).hexdigest()}"

    def _report(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            logger.warning(
                "prediction cache %s fails (%s: %s); answers are computed instead",
                self._folder,
                type(error).__name__,
                error,
            )
