"""What a run saved is never more than the runs took that measured it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.arms.types import ScoringModel
from tasks.output.records import Counts, Shard, ShardRecord
from tasks.output.row_parameters import RowParameters
from tasks.scoring.summary import STEADY_CALLS, seconds_a_call, summarise_outcomes
from tasks.scoring.types import ScoringParameters, ShardOutcome

MODEL = ScoringModel(
    uri="models:/m/1",
    fingerprint="f",
    labels=("a", "b"),
    engine="torch",
    precision="f32",
    device="cpu",
)
PARAMETERS = ScoringParameters(model=MODEL, output_dir=Path("out"))
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, *, at: float, seconds: float, in_model: float, calls: int) -> ShardRecord:
    shard = Shard(id=f"s-{number:05}", file_id="s", source="s", sha256="", first_row=1, rows=calls)
    return ShardRecord(
        shard=shard,
        model_uri=MODEL.uri,
        fingerprint=MODEL.fingerprint,
        engine="torch",
        precision="f32",
        parameters=RowParameters(),
        counts=Counts(rows_in=calls, scored=calls, model_calls=calls),
        labels={},
        languages={},
        scores=(),
        reasons={},
        files={},
        started=START + timedelta(seconds=at),
        seconds=seconds,
        model_seconds=in_model,
        host="",
        flow_run_id="",
    )


def saved_by_resuming(records: list[ShardRecord]) -> float | None:
    outcomes = [
        ShardOutcome(id=r.shard.id, file_id="s", source="s", record=r, skipped=True)
        for r in records
    ]
    saved = summarise_outcomes(PARAMETERS, outcomes, seconds=0.1)["seconds_saved"]
    assert saved is None or isinstance(saved, float)
    return saved


def test_seconds_that_shards_waited_for_each_other_are_saved_once() -> None:
    at_once = [record(n, at=0.1 * n, seconds=3, in_model=2.9, calls=100) for n in range(12)]
    assert saved_by_resuming(at_once) == pytest.approx(4.1 * 2.9 / 3)
    alone = [record(n, at=3 * n, seconds=3, in_model=2.9, calls=100) for n in range(12)]
    assert saved_by_resuming(alone) == pytest.approx(12 * 2.9)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100), st.floats(0.001, 50), st.floats(0, 1), st.integers(STEADY_CALLS, 99)
        ),
        min_size=1,
    )
)
def test_no_run_saves_more_than_it_took(shards: list[tuple[float, float, float, int]]) -> None:
    records = [
        record(n, at=at, seconds=seconds, in_model=seconds * share, calls=calls)
        for n, (at, seconds, share, calls) in enumerate(shards)
    ]
    ends = [at + seconds for at, seconds, _, _ in shards]
    took = max(ends) - min(at for at, _, _, _ in shards)
    saved = saved_by_resuming(records)
    assert saved is not None
    assert saved <= took + 1e-3


def test_calls_that_nobody_measured_have_no_time() -> None:
    assert seconds_a_call([]) is None
    assert seconds_a_call([record(1, at=0, seconds=1, in_model=0, calls=0)]) is None


def test_a_few_calls_of_a_cold_engine_stand_for_no_others() -> None:
    cold = record(1, at=0, seconds=1, in_model=0.9, calls=3)
    assert saved_by_resuming([cold]) is None
    steady = record(2, at=1, seconds=1, in_model=0.9, calls=300)
    assert saved_by_resuming([cold, steady]) == pytest.approx(303 * 0.9 / 300)
