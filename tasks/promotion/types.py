"""Types of a promotion: its rule, its decision, and the event of a new champion."""

from typing import Annotated, Literal

from tasks.common.parameter_types import FrozenModel, Probability, about
from tasks.tracking.names import CHAMPION, RegisteredModel, version_uri

Rule = Literal["if_better", "if_not_worse", "always", "never"]

Promotion = Annotated[
    Rule,
    about(
        "When the version becomes champion, by rows that neither it nor the champion was trained "
        "or validated on: if_better, if the exact test of McNemar shows it (p below 0.05); "
        "if_not_worse, if its accuracy is at most 0.5 points lower, with 95 % confidence; always; "
        "or never."
    ),
]


LearntPromotion = Annotated[
    Literal["if_better", "always", "never"],
    about(
        "When the version that learnt becomes champion: if_better, if it is shown to be better on "
        "the held-out half of the feedback, and is at most 0.5 points worse on old test rows; "
        "always; or never."
    ),
]
TrafficPromotion = Annotated[
    Literal["never", "if_better", "if_not_worse"],
    about(
        "Whether the challenger becomes champion, by the rows with a label that neither was "
        "trained or validated on: never; if_better; or if_not_worse, if its accuracy is lower by "
        "less than 0.5 points. The test holds however often the comparison is repeated."
    ),
]
MaxFlips = Annotated[
    Probability, about("No promotion if a larger share of rows gets another label.")
]
MaxNewRejects = Annotated[
    Probability, about("No promotion if the challenger alone rejects a larger share of rows.")
]
MinSpeed = Annotated[
    float,
    about("No promotion if its rows a second are less than so many times the champion's.", ge=0),
]
MaxMemory = Annotated[
    float, about("No promotion if it takes more than so many times the champion's memory.", gt=0)
]


MinDays = Annotated[
    int, about("No promotion before the rows of so many days are compared.", ge=0, le=3_650)
]


class Bounds(FrozenModel):
    """What keeps a challenger from becoming champion, whatever its labels: flow parameters.

    By default nothing does.
    """

    max_flips: MaxFlips = 1.0
    max_new_rejects: MaxNewRejects = 1.0
    min_speed: MinSpeed = 0.0
    max_memory: MaxMemory = 1_000.0
    min_days: MinDays = 0


BOUNDS = Bounds()


AuditedFlips = Annotated[
    Probability,
    about(
        "The champion is taken back if it and the version before give a larger share of rows "
        "different labels; 1 leaves it to the labels of rows."
    ),
]
AUDITED_FLIPS: AuditedFlips = 1.0


class AuditDecision(FrozenModel):
    """What became of a champion that was compared with the one before it.

    Attributes:
        taken_back: Whether the one before is champion again.
        reason: The figures behind it, in one line.
    """

    taken_back: bool
    reason: str


class PromotionDecision(FrozenModel):
    """Where a version stands after the comparison with the champion.

    Attributes:
        alias: `champion`, `challenger`, or `None` for a plain pipeline.
        reason: The metrics behind it, in one line.
    """

    alias: Literal["champion", "challenger"] | None
    reason: str

    def describe_answering(self, registered: RegisteredModel) -> str:
        """Return whether scoring uses the version now and, if not, the command for it."""
        if self.alias == CHAMPION:
            return f"yes, as {registered.name}@{CHAMPION}"
        if self.alias is None:
            return f"no: {self.reason}"
        return f"no; python -m flows.promote_pipeline --version {registered.version}"


class GroupAccuracy(FrozenModel):
    """How many rows of a group the champion and a version that learnt are right for.

    Attributes:
        rows: Rows of the group that are new to both.
        champion: The share that the champion is right for.
        learnt: The share that the version is right for.
    """

    rows: int
    champion: float
    learnt: float


class LearntGate(FrozenModel):
    """What decided whether a version that learnt became champion.

    Attributes:
        test: Old test rows.
        feedback: All held-out feedback.
        p_value: Of the test that the version is better on it.
        batches: Held-out feedback of each batch, by its name.
    """

    test: GroupAccuracy
    feedback: GroupAccuracy
    p_value: float
    batches: dict[str, GroupAccuracy]


PROMOTED = "millstream.pipeline.promoted"
TAKEN_BACK = "millstream.pipeline.taken-back"


def champion_resource(name: str, version: int, reason: str) -> dict[str, str]:
    """Return what the event says: the model, and in `millstream.model-uri` the version's URI.

    That URI cannot come to mean another version.
    """
    return {
        "prefect.resource.id": f"millstream.model.{name}",
        "prefect.resource.name": name,
        "millstream.model-uri": version_uri(name, version),
        "millstream.reason": reason,
    }
