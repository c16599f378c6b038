"""Types of a comparison of two versions on the same rows."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from tasks.common.parameter_types import FrozenModel, about
from tasks.measures.paired import (
    PairedCounts,
    mcnemar_p_value,
    paired_difference,
    repeated_p_value,
)
from tasks.output.place import output_place

PresentVersion = Annotated[
    str, about("The version that answers today: a number, an alias, or a URI.")
]
OtherVersion = Annotated[
    str, about("The version to compare with it: a number, an alias, or a URI.")
]
ComparedOutputs = Annotated[
    tuple[str, ...],
    about(
        "Output folders of two scorings of the same files, that of the present version first. With "
        "them nothing is scored."
    ),
]
ComparedFolder = Annotated[
    str,
    output_place("output_dir"),
    about(
        "Folder that gets what both versions answer, in champion/ and challenger/; empty takes "
        "compared/ in the state folder."
    ),
]
FlipExamples = Annotated[
    int, about("Rows quoted that the two answer differently; 0 quotes none.", ge=0, le=100)
]


class RowChoice(FrozenModel):
    """Which rows of two output folders are compared.

    Attributes:
        of_last_run: Whether those of the last run into the present version's folder alone, since
            a folder keeps the shards of files that other runs had.
        label_column: The column with the right labels; empty takes that of the scorings, if any.
        versions: The present version and the one that answered a sample of its rows in its shadow;
            shards of others, or that the shadow does not have, are not compared. None takes all.
        labels: A Parquet file of `text_digest` and `label`, for rows without a label in the input.
    """

    of_last_run: bool = False
    label_column: str = ""
    versions: tuple[str, str] | None = None
    labels: Path | None = None


class Group(FrozenModel):
    """Rows that have something in common, as a language.

    Attributes:
        rows: Those that both versions answered.
        flips: Those of them that they answered with different labels.
    """

    rows: int
    flips: int


class Flip(FrozenModel):
    """A row that two versions answered with different labels.

    Attributes:
        shard: Its shard.
        row: Its number in the file, counted from 1.
        text: Its text.
        present: The label of the present version, and its score.
        other: The label of the other version, and its score.
        truth: Its label in the input; empty without.
    """

    shard: str
    row: int
    text: str
    present: tuple[str, float]
    other: tuple[str, float]
    truth: str = ""


class Rejects(FrozenModel):
    """Rows that a version rejected.

    Attributes:
        both: Those that both rejected.
        only_present: Those that the present version alone rejected, by reason.
        only_other: Those that the other version alone rejected, by reason.
    """

    both: int
    only_present: dict[str, int]
    only_other: dict[str, int]


class Comparison(FrozenModel):
    """Two versions on the same rows.

    Attributes:
        present: The version that answers today.
        other: The version that is compared with it.
        rows: Rows that both were given.
        scored: Those that both answered.
        flips: Those of them that they answered with different labels.
        pairs: Flips by the label of the present version, then by that of the other.
        by_language: Rows that both answered by the language that the present version detected.
        by_length: The same by characters of the text, as `100-199`.
        by_score: The same by the score of the present version, as `0.90-0.95`.
        by_night: The same by the day, in UTC, on which the other version answered the shard.
        rejects: Rows that one rejected, or both.
        known: Rows with a label whose text one of them was trained or validated on.
        unknown_labels: Rows with a label that neither knows.
        repeated: Rows with a label whose text a row before had.
        decided: Rows with a label that a look-up or a rule of one of them refused.
        unknown_trainings: Whether a training of before logged not all its texts, so that no label
            counts.
        labels: Other rows with a label that one of them answered, by who is right; a rejected row
            is wrong. None without.
        examples: A few of the flips.
        left_out: Shards that cannot be compared, with the reason.
    """

    present: str
    other: str
    rows: int
    scored: int
    flips: int
    pairs: dict[str, dict[str, int]]
    by_language: dict[str, Group]
    by_length: dict[str, Group]
    by_score: dict[str, Group]
    by_night: dict[str, Group]
    rejects: Rejects
    known: int
    unknown_labels: int
    repeated: int
    decided: int = 0
    unknown_trainings: bool
    labels: PairedCounts | None
    examples: tuple[Flip, ...]
    left_out: dict[str, str]

    @property
    def flip_share(self) -> float | None:
        """The share of flips in the rows that both answered; None without such rows."""
        return self.flips / self.scored if self.scored else None

    @property
    def new_reject_share(self) -> float | None:
        """The share of rows that the other version alone rejected; None without rows."""
        return sum(self.rejects.only_other.values()) / self.rows if self.rows else None


class Speed(FrozenModel):
    """What a version takes on this machine, without the prediction cache.

    Attributes:
        rows_per_second: Rows by the clock.
        batch_p95_ms: Of 100 batches of 32 texts, 95 take no longer.
        peak_mib: The most memory of a process with the version alone.
    """

    rows_per_second: float
    batch_p95_ms: float
    peak_mib: float


class ComparisonReport(FrozenModel):
    """A comparison, as it is reported.

    Attributes:
        comparison: Of the rows.
        speeds: Of the present version and of the other; None if they were not measured.
        compared: When.
    """

    comparison: Comparison
    speeds: tuple[Speed, Speed] | None
    compared: datetime

    def metrics(self) -> dict[str, float]:
        """Return its figures by their names in MLflow."""
        found = self.comparison
        rejects = found.rejects
        metrics: dict[str, float] = {
            "rows": found.rows,
            "scored_by_both": found.scored,
            "flips": found.flips,
            "rows_known_from_training": found.known,
            "rows_of_unknown_labels": found.unknown_labels,
            "rows_of_repeated_texts": found.repeated,
            "rows_refused_by_rules": found.decided,
            "rejected_by_both": rejects.both,
            "rejected_by_present_alone": sum(rejects.only_present.values()),
            "rejected_by_other_alone": sum(rejects.only_other.values()),
        }
        if found.flip_share is not None:
            metrics["agreement"] = 1 - found.flip_share
        if found.labels is not None:
            low = paired_difference(found.labels).low
            metrics |= {
                "labelled": found.labels.rows,
                "accuracy_of_present": found.labels.accuracy_of_present,
                "accuracy_of_other": found.labels.accuracy_of_other,
                "p_value": mcnemar_p_value(found.labels),
                "repeated_p_value": repeated_p_value(found.labels),
                "accuracy_difference_low": low,
            }
        for side, speed in zip(("present", "other"), self.speeds or (), strict=False):
            metrics |= {f"{name}_of_{side}": value for name, value in speed.model_dump().items()}
        return metrics
