"""What is published: whole at any moment, and in the end the same however often it was begun."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.common.files import sha256_of
from tasks.output.folder import STAGING
from tasks.output.records import FOLDERS, ShardRecord, record_path, table_path

TOLERANCE = 1e-5  # of scores, in 32 bits

# What differs from run to run, or is compared apart.
_OWN = ("cached", "prediction_score", "prediction_members")


@dataclass(frozen=True)
class Published:
    """What an output folder holds at a moment.

    Attributes:
        records: When the record of each finished shard was published, in ns, by id.
        begun: Ids of shards of which a file is there, but no valid record.
        stale: Ids of shards whose record is of earlier files.
        staged: When the rows of shards that wait or are scored were staged, by name.
        held_since: When a run took the folder and did not come to release it, in ns.
    """

    records: dict[str, int]
    begun: frozenset[str]
    stale: frozenset[str]
    staged: dict[str, int]
    held_since: int


def check_whole(output: Path) -> Published:
    """Read every published file to its last row and every record.

    Raises:
        AssertionError: If one is not whole, or a row is in two finished shards.
    """
    # Drafts are in a hidden folder, and may be half written.
    tables = {path: pq.read_table(path) for path in sorted(output.glob("[!.]*/*.parquet"))}
    assert {path.parent.name for path in tables} <= set(FOLDERS)
    records = {path.stem: _record(path) for path in sorted(output.glob("records/*.json"))}
    valid = {shard for shard, record in records.items() if _is_of_its_files(output, record)}
    rows = Counter(
        (records[path.stem].shard.source, row)
        for path, table in tables.items()
        if path.stem in valid
        for row in table["row"].to_pylist()
    )
    assert set(rows.values()) <= {1}
    assert len(rows) == sum(records[shard].shard.rows for shard in valid)
    drafts = {path.name[1:].split(".")[0] for path in output.glob("*/.*.draft")}
    return Published(
        records=_times(record_path(output, shard) for shard in valid),
        begun=frozenset(({path.stem for path in tables} | drafts) - valid),
        stale=frozenset(set(records) - valid),
        staged=_times((output / STAGING).glob("*.arrow")),
        held_since=_times(output.glob(".lock.json")).get(".lock", 0),
    )


def check_tidy(output: Path) -> None:
    """Check that nothing is left of what is needed only while a run lasts."""
    files = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    records = {path.stem for path in output.glob("records/*")}
    expected = {table_path(Path(), folder, shard) for folder in FOLDERS for shard in records}
    expected |= {record_path(Path(), shard) for shard in records}
    assert files == expected | {Path(".lock"), Path("manifest.json")}


def check_same(output: Path, expected: Path) -> None:
    """Check that two output folders have the same rows, in order, with the same answers."""
    for folder in FOLDERS:
        names = [path.name for path in sorted((expected / folder).iterdir())]
        assert [path.name for path in sorted((output / folder).iterdir())] == names
        for name in names:
            ours = pq.read_table(output / folder / name)
            theirs = pq.read_table(expected / folder / name)
            assert ours.schema.equals(theirs.schema)
            assert _settled(ours).equals(_settled(theirs)), f"{folder}/{name}"
            if folder == "predictions":
                _check_close(ours["prediction_score"], theirs["prediction_score"])
                if "prediction_members" in ours.column_names:
                    _check_members(ours["prediction_members"], theirs["prediction_members"])


def _settled(table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in _OWN if name in table.column_names])


def _check_members(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> None:
    """Check that rows name the same members, with the same answers."""
    assert pc.list_value_length(ours).equals(pc.list_value_length(theirs))
    found, expected = pc.list_flatten(ours), pc.list_flatten(theirs)
    for name in ("name", "uri", "label"):
        assert pc.struct_field(found, name).equals(pc.struct_field(expected, name))
    _check_close(pc.struct_field(found, "score"), pc.struct_field(expected, "score"))


def _check_close(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> None:
    apart = pc.abs(pc.subtract(ours, theirs)).to_numpy()
    assert np.max(apart, initial=0) <= TOLERANCE


def _record(path: Path) -> ShardRecord:
    record = ShardRecord.model_validate_json(path.read_bytes())
    assert record.shard.id == path.stem
    return record


def _is_of_its_files(output: Path, record: ShardRecord) -> bool:
    paths = {folder: table_path(output, folder, record.shard.id) for folder in FOLDERS}
    return all(
        path.is_file() and sha256_of(path) == record.files[folder] for folder, path in paths.items()
    )


def _times(paths: Iterable[Path]) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in paths}
