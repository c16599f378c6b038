"""Types of a shadow: flow parameters, the version that answers a sample, and what became of it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.arms.types import ScoringModel
from tasks.common.parameter_types import FolderPath, FrozenModel, about
from tasks.output.place import output_place
from tasks.tracking.names import RegisteredModel

# Of an output folder: what the other versions answered, a folder for each.
SHADOW = "shadow"

ShadowedOutput = Annotated[
    FolderPath,
    output_place("output_dir"),
    about("Output folder of score-shards, in whose shadow/ another version answered a sample."),
]
ShadowVersions = Annotated[
    tuple[str, ...],
    about(
        "Versions that answer a sample of the rows as well, after the rows are published: numbers, "
        "aliases, URIs, or previous for the champion before the present one. Their answers go into "
        "shadow/ of the output folder."
    ),
]
ShadowFraction = Annotated[
    float, about("Share of the texts whose rows they answer, chosen by a hash.", gt=0, le=1)
]
AuditDays = Annotated[
    int, about("Days after a promotion for which previous answers a sample.", ge=1, le=3_650)
]


class ShadowOptions(FrozenModel):
    """Which versions answer a sample of the rows: flow parameters."""

    shadow: ShadowVersions = ()
    shadow_fraction: ShadowFraction = 0.1
    audit_days: AuditDays = 14


SHADOWS = ShadowOptions()


class ShadowPlan(FrozenModel):
    """What a reference of `shadow` means in a run.

    Attributes:
        model: The version that answers a sample; None if none does.
        reason: Why none does.
    """

    model: ScoringModel | None
    reason: str = ""


class ShadowOutcome(FrozenModel):
    """What a version answered as a shadow.

    Attributes:
        version: Its URI; empty if none answered.
        reason: Why none was to.
        error: Why none could.
        answered_shards: Shards of this run whose sample it answered, now or before.
        answered_rows: Their rows in the sample, those that it rejected included.
        failures: Why shards failed, by their ids.
    """

    version: str = ""
    reason: str = ""
    error: str = ""
    answered_shards: int = 0
    answered_rows: int = 0
    failures: dict[str, str] = Field(default={})


class FoundShadow(FrozenModel):
    """Where two versions answered the same rows, one of them as a shadow.

    Attributes:
        reason: Why there is nothing to compare; empty if there is.
        versions: The URI of the present version, and that of the shadow.
        folder: What the shadow answered.
    """

    reason: str = ""
    versions: tuple[str, str] = ("", "")
    folder: Path = Path()


def shadow_folder(output_dir: Path, model_uri: str) -> Path:
    """Return the folder of what a version answered as a shadow; it is laid out as an output."""
    return output_dir / SHADOW / f"version-{RegisteredModel.from_uri(model_uri).version}"
