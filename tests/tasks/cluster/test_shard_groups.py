"""Groups of shards: how many tasks files make, and how a group that failed is split."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.cluster.shard_groups import Group, Lease
from tasks.output.records import Shard
from tasks.scoring.shard_scheduler import Submitted
from tasks.scoring.types import PlannedShard
from tasks.staging.leases import grant_lease
from tasks.staging.types import StagedShard


def submitted(number: int, rows: int) -> Submitted:
    shard = Shard(id=f"{number}", file_id="f", source="f.csv", sha256="0", first_row=1, rows=rows)
    planned = PlannedShard(shard=shard, why="new")
    return Submitted(planned, StagedShard(rows=Path(f"{number}.arrow")), ())


def grouped(sizes: list[int], shard_rows: int) -> list[Group]:
    groups, group = [], Group(Lease(Path("lease")))
    for number, rows in enumerate(sizes):
        group.shards.append(submitted(number, rows))
        if group.is_large_enough(shard_rows):
            groups.append(group)
            group = Group(Lease(Path("lease")))
    return [*groups, group] if group.shards else groups


@given(st.lists(st.integers(0, 2_000), max_size=300))
def test_groups_hold_all_shards_and_no_more_than_two_shards_worth_of_rows(sizes: list[int]) -> None:
    groups = grouped(sizes, shard_rows=2_000)
    assert [s.planned.shard.rows for group in groups for s in group.shards] == sizes
    assert all(group.rows < 4_000 for group in groups)
    # Two groups in a row have the rows of one large shard, or a hundred shards.
    assert len(groups) <= 1 + sum(sizes) / 1_000 + len(sizes) / 100


def test_ten_thousand_small_files_are_some_hundred_tasks() -> None:
    assert len(grouped([1] * 10_000, shard_rows=2_000)) == 100
    assert len(grouped([50] * 10_000, shard_rows=2_000)) == 250


def test_the_lease_of_a_group_in_parts_ends_with_its_last_shard(tmp_path: Path) -> None:
    folder = grant_lease(tmp_path, "run-00001")
    group = Group(Lease(folder), [submitted(number, 1) for number in range(3)])
    singles = [group.part(shard) for shard in group.shards]
    group.lease.release()
    assert [single.name for single in singles] == ["0", "1", "2"]
    assert group.name == "0 and 2 more"
    assert len({single.key for single in singles}) == 3
    for single in singles:
        assert folder.is_dir()
        single.lease.release()
    assert not folder.exists()
