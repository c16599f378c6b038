"""How labels and scores are spread over rows, in a form that two runs can be compared by."""

from pydantic import BaseModel, ConfigDict

# Where a training run keeps what was measured on its test rows.
DISTRIBUTION_FILE = "evaluation/distribution.json"
CONFUSION_FILE = "evaluation/confusion_matrix.json"
ROC_FILE = "evaluation/roc_curve.json"


class Distribution(BaseModel):
    """What a model predicted for the test rows of its training.

    Attributes:
        labels: Rows by predicted label.
        true_labels: Rows by the label that they have.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
    """

    model_config = ConfigDict(frozen=True)  # what a later version adds is ignored

    labels: dict[str, int]
    true_labels: dict[str, int]
    scores: tuple[int, ...]
