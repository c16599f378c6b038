"""One name can mean two members, in versions that share an output folder."""

import pytest

from tasks.arms.deciders import count_deciders
from tasks.arms.types import ScoringModel
from tasks.output.records import ArmRecord, Counts

NOW = ScoringModel(
    uri="models:/p/2",
    fingerprint="f",
    labels=("bad", "good"),
    engine="torch",
    precision="f32",
    device="cpu",
    is_composed=True,
    logged_uri="models:/m-2",
)


def record(number: int, deciders: dict[str, int], *, logged: bool = True) -> ArmRecord:
    """What a record has of the shards that a version scored; earlier ones had no `logged_uri`."""
    return ArmRecord(
        model_uri=f"models:/p/{number}",
        logged_uri=f"models:/m-{number}" if logged else "",
        fingerprint="f",
        engine="torch",
        precision="f32",
        counts=Counts(),
        labels={},
        deciders=deciders,
        scores=(),
        seconds=0.0,
        model_seconds=0.0,
    )


@pytest.mark.parametrize(
    ("before", "counted"),
    [
        (record(1, {"film": 2}), {"film of models:/m-1": 2, "film": 1}),
        (record(1, {"film": 2}, logged=False), {"film of models:/p/1": 2, "film": 1}),
        (record(2, {"film": 2}), {"film": 3}),
        (record(2, {"film": 2}, logged=False), {"film": 3}),
        # From the cache, which the version of now had filled, or yet another.
        (record(1, {"film of models:/m-2": 2}), {"film": 3}),
        (record(1, {"film of models:/m-3": 2}), {"film of models:/m-3": 2, "film": 1}),
    ],
)
def test_members_of_a_version_that_scored_before_are_named_with_it(
    before: ArmRecord, counted: dict[str, int]
) -> None:
    assert count_deciders([before, record(2, {"film": 1})], NOW) == counted
