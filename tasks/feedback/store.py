"""The store of feedback: batches as Parquet files, which are added and never changed.

The name of a batch has the start of its digest, so that damage is noticed. Rows that were refused
are in `refused/`, by the digest of the file or table that has them.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import DataError
from tasks.common.files import published_file, waited_lock
from tasks.feedback.feedback_rows import FeedbackRow, Refusal

_NAME_DIGITS = 12  # of the digest
_NAME = re.compile(rf"batch-(\d+)-([0-9a-f]{{{_NAME_DIGITS}}})\.parquet")

_SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("text_digest", pa.string()),
        ("label", pa.string()),
        ("when", pa.timestamp("us", tz="UTC")),
        ("by", pa.string()),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("source_row", pa.int64()),
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("model_uri", pa.string()),
        ("answered_label", pa.string()),
        ("answered_score", pa.float64()),
        ("member", pa.string()),
    ]
)


class Batch(NamedTuple):
    """A batch of the store.

    Attributes:
        name: Its file's name.
        sha256: The digest of its file.
        rows: Its rows.
    """

    name: str
    sha256: str
    rows: pa.Table


class FeedbackStore:
    """The batches in a folder.

    Args:
        folder: Where they are; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store while rows are compared with it and added; another collection waits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with waited_lock(self.folder / ".lock", "another collection of feedback"):
            yield

    def read(self) -> list[Batch]:
        """Return its batches, in the order of their numbers.

        Raises:
            DataError: If one is damaged.
        """
        numbers = {path: int(found[1]) for path, found in self._named()}
        return [_read_batch(path) for path in sorted(numbers, key=lambda path: numbers[path])]

    def add(self, rows: Sequence[FeedbackRow]) -> str:
        """Write rows as a batch, whole or not at all, and return its name."""
        columns = [row._asdict() | {"text_digest": row.text_digest} for row in rows]
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(columns, schema=_SCHEMA), buffer)
        content = buffer.getvalue().to_pybytes()
        number = 1 + max((int(found[1]) for _, found in self._named()), default=0)
        digest = hashlib.sha256(content).hexdigest()
        target = self.folder / f"batch-{number:05}-{digest[:_NAME_DIGITS]}.parquet"
        with published_file(target) as draft:
            draft.write_bytes(content)
        return target.name

    def keep_refused(self, sha256: str, refusals: Sequence[Refusal]) -> Path | None:
        """Write the refused rows of a file or table; return where, None if there are none."""
        target = self._refused(sha256)
        if not refusals:
            target.unlink(missing_ok=True)
            return None
        table = pa.Table.from_pylist([refusal._asdict() for refusal in refusals])
        with published_file(target) as draft:
            pq.write_table(table, draft)
        return target

    def has_refused(self, sha256: str) -> bool:
        """Return whether rows of a file or table were refused the last time."""
        return self._refused(sha256).is_file()

    def _refused(self, sha256: str) -> Path:
        return self.folder / "refused" / f"{sha256[:_NAME_DIGITS]}.parquet"

    def _named(self) -> Iterator[tuple[Path, re.Match[str]]]:
        for path in self.folder.glob("batch-*.parquet"):
            if found := _NAME.fullmatch(path.name):
                yield path, found


def digest_store(batches: Iterable[Batch]) -> str:
    """Return a digest of a store, which does not depend on the order of its batches."""
    digests = sorted(batch.sha256 for batch in batches)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def join_batches(batches: Sequence[Batch]) -> pa.Table:
    """Return the rows of batches, each with the name of its own in the column `batch`."""
    tables = [
        batch.rows.append_column("batch", pa.repeat(pa.scalar(batch.name), batch.rows.num_rows))
        for batch in batches
    ]
    nothing = _SCHEMA.append(pa.field("batch", pa.string())).empty_table()
    return pa.concat_tables([nothing, *tables])


def _read_batch(path: Path) -> Batch:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    start = path.stem.rpartition("-")[2]
    if not digest.startswith(start):
        raise DataError(
            f"{path}: is damaged: its SHA-256 starts with {digest[:_NAME_DIGITS]}; expected "
            f"{start}, as its name has it: restore the file, or move it away to do without its "
            "labels"
        )
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except pa.ArrowException as error:
        raise DataError(f"{path}: is no batch; expected a table of feedback") from error
    if not table.schema.equals(_SCHEMA):
        raise DataError(f"{path}: has other columns; expected {', '.join(_SCHEMA.names)}")
    return Batch(path.name, digest, table)
