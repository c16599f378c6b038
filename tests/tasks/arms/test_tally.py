"""Rows are counted by the member that decided, in each arm of a split."""

from collections.abc import Sequence

import pyarrow as pa

from pyfunc.contract import Answer, Language, MemberAnswer, Outcome, Prediction, Provenance
from tasks.arms.answering import ArmAnswers, Work
from tasks.arms.tally import Tally
from tasks.arms.types import ScoringModel
from tasks.output.records import Shard
from tasks.output.row_parameters import RowParameters
from tasks.output.tables import build_predictions
from tasks.output.traffic_split import TrafficSplit

SHARD = Shard(id="s-00001", file_id="s", source="s", sha256="", first_row=1, rows=4)
SPLIT = TrafficSplit(challenger_uri="models:/p/2", fingerprint="2", share=0.5, key_column="")


def model(number: int) -> ScoringModel:
    return ScoringModel(
        uri=f"models:/p/{number}",
        fingerprint=str(number),
        labels=("bad", "good"),
        engine="torch",
        precision="f32",
        device="cpu",
        is_composed=True,
        logged_uri=f"models:/m-{number}",
    )


def decided_by(name: str, pipeline: str = "models:/m-1") -> Outcome:
    return Outcome.of(
        Answer(
            Prediction("good", 0.9, False),
            Language("en", True, 0.9),
            Provenance("models:/f/1", pipeline),
            name,
            (MemberAnswer(name, "models:/f/1", "good", 0.9),),
        ),
        "computed",
    )


def tally_of(outcomes: Sequence[Outcome], arms: list[int], models: Sequence[ScoringModel]) -> Tally:
    parameters = RowParameters(traffic=SPLIT if len(models) > 1 else None)
    rows = pa.table({"text": ["a"] * len(outcomes), "row": range(1, len(outcomes) + 1)})
    answers = ArmAnswers([Work() for _ in models], outcomes=[*outcomes], arms=arms)
    tally = Tally(models, parameters, answers)
    tally.count_predictions(build_predictions(SHARD, rows, outcomes, parameters, is_composed=True))
    return tally


def test_members_of_one_name_are_counted_in_their_arms() -> None:
    outcomes = [decided_by("film"), decided_by("quick")]
    outcomes += [decided_by("film", "models:/m-2")] * 2
    tally = tally_of(outcomes, [0, 0, 1, 1], [model(1), model(2)])
    arms = tally.arm_records()
    assert arms["control"].deciders == {"film": 1, "quick": 1}
    assert arms["challenger"].deciders == {"film": 2}
    assert tally.deciders == {}


def test_a_member_of_the_version_that_filled_the_cache_is_named_with_that_version() -> None:
    earlier = decided_by("film", "models:/m-9")
    outcomes = [decided_by("film"), earlier, earlier, decided_by("quick")]
    deciders = tally_of(outcomes, [0] * 4, [model(1)]).deciders
    assert deciders == {"film of models:/m-9": 2, "film": 1, "quick": 1}
