"""Whatever is delivered, broken off and cut otherwise in between: at the end every row is once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.delivery import shard_delivery
from tasks.delivery.checks import prove_delivery, remove_obsolete
from tests.support.deliveries import TARGET, Place, deliver_alone, publish, shard_id

FILE = "reviews-0123456789abcdef"
ROWS = 12  # of the file

Action = Literal["deliver", "break", "remove"]


@dataclass(frozen=True)
class Cut:
    """A way to cut the file, and what scoring made of it.

    Attributes:
        shard_rows: Rows of a shard.
        version: Of the model.
    """

    shard_rows: int
    version: int

    def shards(self) -> dict[str, range]:
        starts = range(1, ROWS + 1, self.shard_rows)
        return {
            shard_id(number, FILE): range(first, min(first + self.shard_rows, ROWS + 1))
            for number, first in enumerate(starts, start=1)
        }

    def publish(self, folder: Path, shard: str) -> Any:
        rows = self.shards()[shard]
        table = pa.table(
            {
                "text": [f"{row} by {self.version}" for row in rows],
                "shard": [shard] * len(rows),
                "row": pa.array(rows, pa.int64()),
            }
        )
        return publish(folder, table, shard)


@dataclass(frozen=True)
class Step:
    """What is done with a shard of a cut.

    Attributes:
        action: To deliver it, to break off its delivery, or to remove what the cut has not.
        cut: The cut.
        number: Which of its shards.
        rows: After which rows it breaks off.
    """

    action: Action
    cut: Cut
    number: int
    rows: int


CUTS = st.builds(Cut, st.sampled_from([2, 3, 5, 12]), st.integers(1, 2))
STEPS = st.builds(
    Step,
    st.sampled_from(["deliver", "break", "remove"]),
    CUTS,
    st.integers(0, 5),
    st.integers(0, 12),
)


class BrokenOffError(Exception):
    """The process ends here."""


def take(step: Step, place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = step.cut.shards()
    shard = [*shards][step.number % len(shards)]
    if step.action == "remove":
        remove_obsolete(TARGET, place.address, {FILE}, shards.keys())
        return
    record = step.cut.publish(folder, shard)
    if step.action == "deliver":
        deliver_alone(record, folder, TARGET, place.address)
        return
    original = shard_delivery._ShardRows.read

    def read(self: Any, tally: Any) -> Iterator[tuple[object, ...]]:
        for number, row in enumerate(original(self, tally)):
            if number == step.rows:
                break
            yield row
        raise BrokenOffError

    with monkeypatch.context() as patched:
        patched.setattr(shard_delivery._ShardRows, "read", read)
        try:
            deliver_alone(record, folder, TARGET, place.address)
        except BrokenOffError:
            return


def run_to_the_end(cut: Cut, place: Place, folder: Path) -> None:
    shards = cut.shards()
    remove_obsolete(TARGET, place.address, {FILE}, shards.keys())
    for shard in shards:
        deliver_alone(cut.publish(folder, shard), folder, TARGET, place.address)
    prove_delivery(TARGET, place.address, {shard: len(rows) for shard, rows in shards.items()})


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=10), last=CUTS)
def test_every_row_is_there_once_at_the_end(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[Step], last: Cut
) -> None:
    place.query("drop table if exists predictions")
    for step in steps:
        take(step, place, tmp_path, monkeypatch)
    if steps:
        delivered = {step.action for step in steps} & {"deliver", "break"}
        assert not delivered or place.counts() == {s: n for s, n in place.ledger().items() if n}
    run_to_the_end(last, place, tmp_path)
    expected = [(f"{row} by {last.version}", row) for row in range(1, ROWS + 1)]
    assert place.query("select text, row from predictions order by row") == expected
    shards = {shard: len(rows) for shard, rows in last.shards().items()}
    assert place.counts() == place.ledger() == shards
