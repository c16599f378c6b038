"""Types of a promotion: its rule, its decision, and the event of a new champion."""

from typing import Annotated, Literal

from tasks.common.parameter_types import FrozenModel, about
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


PROMOTED = "millstream.pipeline.promoted"


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
