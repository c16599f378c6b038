"""Counting distinct texts in memory that does not grow with their number."""

import hashlib
import sqlite3
from collections.abc import Sequence

_DIGEST_BYTES = 16


class DistinctTexts:
    """The texts seen so far, as digests in a temporary file that goes away with the process."""

    def __init__(self) -> None:
        # The empty name is SQLite's for a private database on disk: https://sqlite.org/inmemorydb.html
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, texts: Sequence[str]) -> list[str]:
        """Return those of `texts` that are new, each once, in their order."""
        new = []
        self._database.execute("BEGIN")
        for text in texts:
            digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
            cursor = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,))
            if cursor.rowcount:
                new.append(text)
        self._database.execute("COMMIT")
        return new

    def close(self) -> None:
        """Remove the temporary file."""
        self._database.close()
