"""Types of learning from feedback: the corrected labels."""

from pathlib import Path

from tasks.common.parameter_types import FrozenModel
from tasks.tracking.names import RegisteredModel


class Feedback(FrozenModel):
    """Corrected labels.

    Attributes:
        rows: A Parquet file with `text`, `label` and `held_out`; each text is there once.
        digest: Of its rows; learning from the same digest again changes nothing.
    """

    rows: Path
    digest: str


class Learners(FrozenModel):
    """The champion, whose members learn.

    Attributes:
        pipeline: Its version.
        members: The fine-tuned versions that decide its answers, by the names of the members.
        learnt: The digest of the feedback that members have learnt last, by their names.
        labels: How many labels counted at the last learning of a member or of one of its children,
            whatever became of it.
    """

    pipeline: RegisteredModel
    members: dict[str, RegisteredModel]
    learnt: dict[str, str]
    labels: int
