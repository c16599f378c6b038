"""Types of the clean-up: kinds of leftovers, limits, results."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about, path_of
from tasks.common.urls import resolved_path

LeftoverKind = Literal["outputs", "versions", "checkpoints", "downloads"]
LeftoverKindChoice = Literal["all", "outputs", "versions", "checkpoints", "downloads"]

# Outputs before versions: the records of a freed folder keep no version.
KINDS: tuple[LeftoverKind, ...] = ("outputs", "versions", "checkpoints", "downloads")

IN_USE = "in use"
YOUNGER = "too young"
INTERRUPTED = "left by a clean-up that was interrupted"

Apply = Annotated[
    bool, about("Whether to free what the report lists; without it nothing is touched.")
]
Kinds = Annotated[
    Sequence[LeftoverKindChoice],
    about(
        "What to look at: old outputs, superseded versions of both registered models, "
        "checkpoints that no training goes on with, and what broken downloads left."
    ),
]
KeepVersions = Annotated[
    int, about("Newest versions of each registered model that stay in any case.", ge=0)
]
# Dates end in the year 1.
OlderThanDays = Annotated[
    int,
    about(
        "Days since its last use before something may be freed; 0 takes all.",
        ge=0,
        le=36_500,
    ),
]
OutputFolders = Annotated[
    Sequence[Annotated[str, path_of("output_dirs", "folders on this machine")]],
    about("Output folders that may be freed besides those under scored in the state folder."),
]
Keep = Annotated[
    Sequence[str],
    about("Further versions of inference_pipeline_model to keep: numbers, aliases or URIs."),
]


class Limits(FrozenModel):
    """What may be freed: parameters of the flow clean-up."""

    apply: Apply = False
    keep_versions: KeepVersions = 2
    older_than_days: OlderThanDays = 30
    output_dirs: tuple[Path, ...] = ()

    def is_too_young(self, days: float) -> bool:
        """Return whether what was last used `days` ago has to stay."""
        return days < self.older_than_days


class Leftover(FrozenModel):
    """Something that is no longer needed.

    Attributes:
        kind: What it is.
        name: Its path or URI.
        bytes: The disk space that freeing it gains.
        days: Since its last use, as far as known.
        why: Why it is not needed.
    """

    kind: LeftoverKind
    name: str
    bytes: int
    days: float
    why: str


class CleanupResult(FrozenModel):
    """What was found of one kind.

    Attributes:
        kind: What it is.
        leftovers: What was freed, or would be.
        kept: How many stay, by reason.
        notes: Explanations of why more is kept than expected.
    """

    kind: LeftoverKind
    leftovers: tuple[Leftover, ...] = ()
    kept: dict[str, int] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def choose_kinds(kinds: Iterable[LeftoverKindChoice]) -> tuple[LeftoverKind, ...]:
    """Return the chosen kinds, in the order of clean-up.

    Raises:
        ParameterError: If none is named.
    """
    chosen = set(kinds)
    if not chosen:
        raise ParameterError(f"kinds: none given; expected all, or some of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if chosen & {"all", kind})


def resolve_output_dirs(output_dirs: Iterable[str]) -> tuple[Path, ...]:
    """Return the absolute paths of folders, which need not exist.

    Raises:
        ParameterError: If one is empty, which would mean the working folder, or an address.
    """
    names = tuple(output_dirs)
    if not all(name.strip() for name in names):
        raise ParameterError("output_dirs: an empty one; expected folders")
    return tuple(resolved_path("output_dirs", name, "folders on this machine") for name in names)
