"""The parameters that can change the output of a row."""

import operator
from typing import Annotated

from pydantic import Field

from pyfunc.business.spec import BusinessSpec
from tasks.common.parameter_types import FrozenModel, Probability, about
from tasks.output.language_policy import LanguagePolicy
from tasks.output.traffic_split import TrafficSplit

InputTextColumn = Annotated[str, about("Column of the texts.")]
InputLabelColumn = Annotated[
    str | None, about("Column of the true labels, if there is one; the summary has the accuracy.")
]
ReviewBelow = Annotated[
    Probability,
    about(
        "Score below which a prediction needs a review by people: the column needs_review marks "
        "the row, and review/ has it, ready to be labelled; 0 marks none."
    ),
]


AllScores = Annotated[
    bool,
    about(
        "Whether each prediction has the probability of every label, in the column "
        "prediction_scores."
    ),
]


class RowParameters(FrozenModel):
    """The parameters that can change the output of a row.

    Attributes:
        business_columns: Input columns that look-ups and rules read, besides the text.
        added_columns: The columns that they add to predictions.
        sample: The share of the texts that a shadow answers; 0 of a run, which answers all.
    """

    text_column: InputTextColumn = "text"
    label_column: InputLabelColumn = None
    language: LanguagePolicy = LanguagePolicy()
    # Not in a record without them, which earlier versions read.
    review_below: ReviewBelow = Field(default=0.0, exclude_if=operator.not_)
    all_scores: AllScores = Field(default=False, exclude_if=operator.not_)
    traffic: TrafficSplit | None = Field(default=None, exclude_if=operator.not_)
    business_columns: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    added_columns: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    sample: Probability = Field(default=0.0, exclude_if=operator.not_)

    def with_business(self, *specs: BusinessSpec | None) -> "RowParameters":
        """Return the parameters with the columns of the look-ups and rules of versions."""
        found = [spec for spec in specs if spec is not None]
        read = dict.fromkeys(name for spec in found for name in spec.input_columns)
        added = dict.fromkeys(name for spec in found for name in spec.added_columns)
        return self.model_copy(
            update={"business_columns": tuple(read), "added_columns": tuple(added)}
        )

    def is_equivalent(self, others: "RowParameters") -> bool:
        """Return whether both write the same rows."""
        return self._normalised() == others._normalised()

    def _normalised(self) -> "RowParameters":
        if self.language.policy == "score":
            return self.model_copy(update={"language": LanguagePolicy()})
        return self
