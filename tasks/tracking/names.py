"""Names in MLflow: registered models, experiments, aliases, tags and version URIs."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Final

from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel
from tasks.project.project import get_project

# A project has models of its own, and so a champion, a challenger and a way back of its own: the
# aliases belong to the registered model, and the demo's champion answers for nobody else's data.
FINETUNED_MODEL = get_project().model_name("dl_finetuned_model")
PIPELINE_MODEL = get_project().model_name("inference_pipeline_model")

TRAINING_EXPERIMENT = "train-classifier"
BUILDING_EXPERIMENT = "build-inference-pipeline"
SCORING_EXPERIMENT = "score-shards"
COMPARING_EXPERIMENT = "compare-pipelines"
LEARNING_EXPERIMENT = "learn-from-feedback"

# Characters; PostgreSQL and MySQL refuse a longer one, and a file name may have 255.
MAX_RUN_NAME = 250

# Aliases; MLflow has none named `PREVIOUS`, which stands for the version in `PREVIOUS_TAG`.
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS = "previous"

# The only member of a pipeline that a fine-tuned model and no composition file describes.
SINGLE_MEMBER = "model"

# Of a pipeline version with several members: where each of them comes from, as JSON.
MEMBERS_TAG = "members"

# Of such a version: who answers, as JSON.
ANSWER_TAG = "answer"

# Of a pipeline version: when it became champion the last time, as ISO 8601.
PROMOTED_AT_TAG = "promoted_at"

# On the registered model.
PREVIOUS_TAG = "previous_champion"

# Of a scoring run with a split: the URI of the version that answered its share.
CHALLENGER_TAG = "challenger_uri"

# Of a run: those that have the same are compared with each other.
SERIES_TAG = "series"

# Of a training that learnt from feedback: how, by which version, from what and how many rows.
LEARNING_TAG, PARENT_TAG, FEEDBACK_TAG = "learning", "parent", "feedback_digest"

# Of a fine-tuned version that learnt: how many labels counted then, held-out ones included.
FEEDBACK_LABELS_TAG = "feedback_labels"
FEEDBACK_ROWS_TAG = "feedback_rows"

# Of one that learnt a head again: the run of the training whose rows it learnt with.
ORIGINAL_RUN_TAG = "original_run"

CHAMPION_URI = f"models:/{PIPELINE_MODEL}@{CHAMPION}"


def series_of(model: str, labels: Sequence[str], *others: str) -> str:
    """Return the value of `SERIES_TAG` for runs that are alike.

    Args:
        model: The registered model's name.
        labels: The labels that it answers with, in any order.
        others: What else has to be the same.
    """
    parts = json.dumps([model, sorted(labels), *others])
    return hashlib.sha256(parts.encode()).hexdigest()


class RegisteredModel(FrozenModel):
    """A registered version.

    Attributes:
        name: The registered model.
        version: Its number.
        reused: Whether an existing version was returned instead of a new one.
    """

    name: str
    version: int
    reused: bool = False

    @property
    def uri(self) -> str:
        """The MLflow URI that loads this version: `models:/<name>/<version>`."""
        return version_uri(self.name, self.version)

    @classmethod
    def from_uri(cls, uri: str) -> "RegisteredModel":
        """Return the version that `models:/<name>/<number>` names."""
        name, number = uri.removeprefix("models:/").split("/")
        return cls(name=name, version=int(number))


def version_uri(name: str, number: int | str) -> str:
    """Return the MLflow URI that loads a registered version and cannot come to mean another."""
    return f"models:/{name}/{number}"


def parse_pipeline_reference(model_uri: str, *, parameter: str = "model_uri") -> tuple[str, str]:
    """Return the registered model and the number or alias that a pipeline reference names.

    Args:
        model_uri: `models:/<name>/<number>`, `models:/<name>@<alias>`, or a number or alias of
            `inference_pipeline_model`.
        parameter: The parameter that has `model_uri`, for the error.

    Raises:
        ParameterError: If it is of another form.
    """
    match = re.fullmatch(r"(?:models:/([^/@]+)[/@])?([\w.-]+)", model_uri)
    if match is None:
        raise ParameterError(
            f"{parameter}: {model_uri!r}; expected a number, an alias, models:/<name>/<version> or "
            "models:/<name>@<alias>"
        )
    return match.group(1) or PIPELINE_MODEL, match.group(2)
