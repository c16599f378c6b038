"""The persistent prediction cache: a diskcache of JSON records, keyed by pipeline and text."""

import hashlib
import logging
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

# Seconds to wait for the write lock, which others hold for milliseconds. diskcache's own
# `retry=True` waits for ever: it takes a file that turned read-only for a lock as well.
LOCK_TIMEOUT = 10.0


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
    failure is logged, all are counted in `failures`.
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
        self._folder = folder
        self._fingerprint = fingerprint
        self._cache: diskcache.Cache | None = None
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
                # Inside a transaction the file does not shrink, so that each row stored over
                # the limit would drop ten more, those of the same transaction included.
                cull_limit=0,
            )
        except Exception as error:  # noqa: BLE001 -- what a damaged file raises is diskcache's
            self._report(error)

    def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
        """Return the stored answers of those `texts` that have one."""
        if self._cache is None:
            return {}
        found = {}
        for text in texts:
            try:
                record = self._cache.get(self._key(text))
                if record is not None:
                    found[text] = Answer.from_record(record)
            except ValueError as error:  # this record alone
                self._report(error)
            except Exception as error:  # noqa: BLE001 -- as above
                self._report(error)
                break
        return found

    def store_many(self, answers: Mapping[str, Answer]) -> None:
        """Store answers by text, in one transaction; drop the oldest above the size limit."""
        if self._cache is None or not answers:
            return
        try:
            with self._cache.transact():
                for text, answer in answers.items():
                    self._cache.set(self._key(text), answer.to_record(), tag=self._fingerprint)
            self._cache.cull()
        except Exception as error:  # noqa: BLE001 -- as above
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
