"""Types of learning from feedback: the corrected labels."""

from pathlib import Path

from tasks.common.parameter_types import FrozenModel


class Feedback(FrozenModel):
    """Corrected labels.

    Attributes:
        rows: A Parquet file with `text`, `label` and `held_out`; each text is there once.
        digest: Of its rows; learning from the same digest again changes nothing.
    """

    rows: Path
    digest: str
