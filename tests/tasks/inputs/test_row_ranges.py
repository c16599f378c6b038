from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.ingestion.formats import Survey
from tasks.inputs.row_ranges import cut_into_shards
from tasks.inputs.types import InputFile
from tasks.output.records import Shard
from tasks.scoring.planning import MAX_SHARDS, check_shard_count, split_into_shards
from tasks.staging.arrow_files import read_staged, write_staged

FILE = InputFile(id="rows-12345678", path=Path("/rows.csv"), name="/rows.csv")


def survey_of(rows: int) -> Survey:
    return Survey(sha256="0" * 64, size=0, modified_ns=0, rows=rows, columns=b"")


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    shard_rows=st.integers(1, 30),
    data=st.data(),
)
def test_each_wanted_range_gets_its_rows_whatever_the_blocks(
    sizes: list[int], shard_rows: int, data: st.DataObject
) -> None:
    table = pa.table({"row": range(1, sum(sizes) + 1)})
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    blocks = [table.slice(start, size) for start, size in zip(starts, sizes, strict=True)]
    shards = list(split_into_shards(FILE, survey_of(sum(sizes)), shard_rows))
    wanted = data.draw(st.sets(st.sampled_from([shard.id for shard in shards])))
    found = [
        (shard, pa.concat_tables(parts)) for shard, parts in cut_into_shards(blocks, shards, wanted)
    ]
    assert [shard.id for shard, _ in found] == [s.id for s in shards if s.id in wanted]
    for shard, rows in found:
        assert rows["row"].to_pylist() == list(range(shard.first_row, shard.first_row + shard.rows))


@given(rows=st.integers(0, 200), shard_rows=st.integers(1, 60))
def test_ranges_cover_a_file_without_gaps_and_there_is_always_one(
    rows: int, shard_rows: int
) -> None:
    shards = list(split_into_shards(FILE, survey_of(rows), shard_rows))
    assert len({shard.id for shard in shards}) == len(shards) >= 1
    numbers = [n for s in shards for n in range(s.first_row, s.first_row + s.rows)]
    assert numbers == list(range(1, rows + 1))
    assert all(shard.rows <= shard_rows for shard in shards)
    assert sorted(shard.id for shard in shards) == [shard.id for shard in shards]


def test_file_of_too_many_shards_is_refused_by_name() -> None:
    check_shard_count(FILE, survey_of(MAX_SHARDS * 2), 2)
    with pytest.raises(
        DataError, match=r"^/rows.csv: its 199999 rows make 100000 shards of 2; expected at most"
    ):
        check_shard_count(FILE, survey_of(MAX_SHARDS * 2 + 1), 2)


def test_blocks_that_end_early_are_an_error() -> None:
    shards = list(split_into_shards(FILE, survey_of(5), 2))
    with pytest.raises(EOFError, match="1 rows of rows-12345678-00003 are missing"):
        list(
            cut_into_shards(
                [pa.table({"row": [1, 2, 3, 4]})], shards, {shard.id for shard in shards}
            )
        )


def test_staged_rows_come_back_with_types_and_changing_dictionaries(tmp_path: Path) -> None:
    tables = [
        pa.table({"kind": pa.array(values).dictionary_encode(), "tags": [[{"a": 1}]] * 2})
        for values in (["x", None], ["y", "x"])
    ]
    table = pa.concat_tables(tables)
    path, victim = tmp_path / "deep" / "rows.arrow", tmp_path / "victim"
    path.parent.mkdir()
    path.symlink_to(victim)
    write_staged(tables, path, tmp_path)
    assert not victim.exists()
    (found,) = read_staged(path)
    assert found.to_pylist() == table.to_pylist()
    assert found.schema == table.schema


def test_long_rows_are_staged_once_and_read_in_parts_of_bounded_size(tmp_path: Path) -> None:
    text = "x" * 1_000_000
    blocks = [pa.table({"text": [text] * 10, "n": range(first, first + 10)}) for first in range(20)]
    shard = Shard(id="s", file_id="f", source="s", sha256="0", first_row=1, rows=190)
    _, rows = next(cut_into_shards(blocks, [shard], {"s"}))
    path = tmp_path / "rows.arrow"
    write_staged(rows, path, tmp_path)
    assert path.stat().st_size < 2**20
    parts = list(read_staged(path))
    assert max(part.nbytes for part in parts) <= 2**26
    assert len(parts) == 4
    assert pa.concat_tables(parts).equals(pa.concat_tables(blocks[:19]))


def test_nothing_is_left_of_a_shard_that_cannot_be_read_to_its_end(tmp_path: Path) -> None:
    shard = Shard(id="s", file_id="f", source="s", sha256="0", first_row=1, rows=3)
    _, rows = next(cut_into_shards([pa.table({"row": [1, 2]})], [shard], {"s"}))
    with pytest.raises(EOFError, match="1 rows of s are missing"):
        write_staged(rows, tmp_path / "rows.arrow", tmp_path)
    assert not list(tmp_path.iterdir())
