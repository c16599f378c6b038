"""Types of feedback: flow parameters, what a collection brought, and running accuracies."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator

from tasks.common.parameter_types import FrozenModel, Positive, Probability, about, path_of
from tasks.delivery.types import DeliveryTarget

FEEDBACK_EXPECTED = "a file or a folder on this machine"

FeedbackFiles = Annotated[
    tuple[Annotated[str, path_of("feedback", FEEDBACK_EXPECTED)], ...],
    about(
        "Files, or folders of files, of CSV, TSV, JSON or Parquet with the columns label, and text "
        "or shard and row, and if there are such: when, by. Empty takes feedback/ in the state "
        "folder."
    ),
]


def _check_table(table: str) -> str:
    if table:
        DeliveryTarget.parse("feedback_table", table)
    return table


FeedbackTable = Annotated[
    str,
    AfterValidator(_check_table),
    about(
        "Table of a database with the same columns, as in crm.feedback; the address is in "
        "MILLSTREAM_SOURCE_CRM. Empty reads none."
    ),
]
ScoredFolder = Annotated[
    str,
    path_of("scored", "an output folder of scoring on this machine"),
    about("Output folder of scoring that has the rows which feedback names by shard and row."),
]
Conflicts = Annotated[
    Literal["newest", "set_aside"],
    about(
        "Which label counts of a text that has several: the newest, or none. If two are the "
        "newest, none counts."
    ),
]
MaxShareBy = Annotated[
    Probability,
    about(
        "Share of the labels that count which may come from one person (the column by) at most. "
        "Labels of which nobody says who gave them are not capped."
    ),
]
LeastLabels = Annotated[Positive, about("New labels from which on there is something to learn.")]


class FeedbackRequest(FrozenModel):
    """Where feedback is taken from."""

    feedback: FeedbackFiles = ()
    feedback_table: FeedbackTable = ""
    scored: ScoredFolder = ""


class FeedbackChoices(FrozenModel):
    """Which labels of the store count."""

    conflicts: Conflicts = "newest"
    max_share_by: MaxShareBy = 1.0


class GivenAnswer(NamedTuple):
    """What a version answered to a text before its label was learnt.

    Attributes:
        label: Its label.
        score: Its score.
        model_uri: The version, `models:/<name>/<number>`.
        member: The member that decided; empty if the version is not composed.
    """

    label: str
    score: float
    model_uri: str
    member: str = ""


# Answers texts that no scoring has, None for one that is refused.
Answerer = Callable[[Sequence[str]], Sequence[GivenAnswer | None]]


class CollectedFeedback(FrozenModel):
    """What a collection brought.

    Attributes:
        batch: The file of the store that has the new rows; empty if there are none.
        taken: The new rows.
        duplicates: Rows that were there already.
        refused: Rows that cannot be used, by column and reason.
        refused_files: Tables of these rows, by the file or table that they are from.
        unreadable: Files and tables that cannot be read at all, with the reason.
        known: Files and tables that the store has had before, as they are.
        store_digest: Digest of the whole store.
    """

    batch: str
    taken: int
    duplicates: int
    refused: dict[str, int]
    refused_files: dict[str, str]
    unreadable: dict[str, str]
    known: tuple[str, ...]
    store_digest: str

    def summary(self) -> dict[str, Any]:
        """Return what a flow prints."""
        found = {"taken_in": self.taken, "said_before": self.duplicates, "batch": self.batch}
        others = {
            "refused": self.refused,
            "refused_rows": self.refused_files,
            "unreadable": self.unreadable,
        }
        return found | {name: value for name, value in others.items() if value}


class LeftOut(FrozenModel):
    """Rows of the store that do not count.

    Attributes:
        duplicates: Those that say again what another row says.
        overruled: Those with an older label than the one that counts.
        set_aside: Those of texts of which no label counts, as they have several.
        capped: Those that are too many by one person.
    """

    duplicates: int = 0
    overruled: int = 0
    set_aside: int = 0
    capped: int = 0


class MemberFeedback(FrozenModel):
    """What a member of the pipeline learns.

    Attributes:
        rows: A Parquet file with `text`, `label` and `held_out`.
        digest: Of its rows, in any order.
        labels: How many of them are learnt.
    """

    rows: Path
    digest: str
    labels: int


class ChosenFeedback(FrozenModel):
    """The labels that count.

    Attributes:
        labels: How many there are.
        held_out: Those of them that measure, and are not learnt.
        undecided: Those of the others that no member of today's pipeline decided, and none learns.
        unknown_to_member: Those of the others whose member does not know the label, and learns none
            of them.
        left_out: Labels that do not count.
        held_out_rows: A Parquet file with `text`, `label` and `batch` of what is held out.
        members: What each member learns, by its name.
    """

    labels: int
    held_out: int
    undecided: int
    unknown_to_member: int
    left_out: LeftOut
    held_out_rows: Path
    members: dict[str, MemberFeedback]

    def summary(self) -> dict[str, Any]:
        """Return what a flow prints."""
        found = {
            "labels": self.labels,
            "labels_to_learn": sum(member.labels for member in self.members.values()),
            "labels_held_out": self.held_out,
        }
        others = {
            "labels_of_no_member": self.undecided,
            "labels_unknown_to_member": self.unknown_to_member,
            **self.left_out.model_dump(),
        }
        return found | {name: value for name, value in others.items() if value}


class Need(FrozenModel):
    """Whether the champion has something to learn.

    Attributes:
        learn: Whether it has.
        reason: Why or why not, in one line.
    """

    learn: bool
    reason: str


class AccuracyWindow(FrozenModel):
    """Labels of a version that follow each other, as tests of the answers before them.

    Attributes:
        first: When the first of them was given.
        last: When the last of them was given.
        labels: How many they are.
        right: How many of them are the answer.
        labels_so_far: They, and all labels before them.
        right_so_far: How many of these are the answer.
    """

    first: datetime
    last: datetime
    labels: int
    right: int
    labels_so_far: int
    right_so_far: int

    @property
    def accuracy(self) -> float:
        """The share of right answers in the window."""
        return self.right / self.labels

    @property
    def accuracy_so_far(self) -> float:
        """The share of right answers since the first label."""
        return self.right_so_far / self.labels_so_far
