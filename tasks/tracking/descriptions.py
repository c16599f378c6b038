"""Descriptions of registered versions in Markdown, for people who open the registry."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tasks.common.task_errors import class_and_line
from tasks.common.text import escape_markdown, markdown_table, printable
from tasks.tracking.mlflow_client import connect, read_logged_json
from tasks.tracking.names import (
    FEEDBACK_ROWS_TAG,
    FINETUNED_MODEL,
    PARENT_TAG,
    RegisteredModel,
)
from tasks.tracking.registry import find_registered_version

logger = logging.getLogger(__name__)

# Characters; databases of MLflow hold no more.
MOST_CHARACTERS = 5_000

_MOST_LABELS = 12
_LONGEST_LABEL = 40
_LONGEST_VALUE = 250

# Of a training's run; higher rooms write it.
_SPLIT_FILE = "data/split.json"

# Of a version: the digest of the description that was written, so that one by people stays.
_DIGEST_TAG = "description_digest"

_FIGURES = {
    "test_accuracy": "accuracy",
    "test_f1": "F1, mean of the labels",
    "test_roc_auc": "ROC AUC",
    "test_calibration_error": "calibration error of the scores",
    "test_baseline_accuracy": "accuracy of a linear model on words",
}

FINETUNED_MODELS = """Transformers, fine-tuned to classify texts, and static models. A training
adds a version.

| alias | the version that is in |
|---|---|
| `champion` | the inference pipeline that scores files |
| `challenger` | the one that was built last and is not champion |

`python -m flows.build_inference_pipeline` wraps the latest version as an inference pipeline.
"""

INFERENCE_PIPELINES = """Pipelines that answer texts with labels and scores. A build adds a version.

| alias | meaning |
|---|---|
| `champion` | scores files, unless a run names another version |
| `challenger` | was built last, and was not chosen on the test rows |

`python -m flows.promote_pipeline --version N` makes a version champion, and `--version previous`
goes back.
"""

Row = tuple[str, str]


def write_description(registered: RegisteredModel, compose: Callable[[], str]) -> None:
    """Write the description of a version, unless people wrote one; an error costs nothing else.

    Args:
        registered: The version.
        compose: Returns the Markdown; longer than `MOST_CHARACTERS`, it is cut.
    """
    try:
        client = connect()
        version = client.get_model_version(registered.name, str(registered.version))
        if version.description and _digest(version.description) != version.tags.get(_DIGEST_TAG):
            return
        text = compose()
        text = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
        client.set_model_version_tag(
            registered.name, str(registered.version), _DIGEST_TAG, _digest(text)
        )
        client.update_model_version(registered.name, str(registered.version), text)
    except Exception as error:  # noqa: BLE001 -- no description may cost the version
        logger.warning("%s: has no description (%s)", registered.uri, class_and_line(error))


def describe_finetuned(model_uri: str, run_id: str) -> None:
    """Write the description of the version that a training registered, if it did.

    Args:
        model_uri: The logged model, as `models:/m-…`.
        run_id: The MLflow run of the training.
    """
    try:
        version = find_registered_version(FINETUNED_MODEL, model_uri)
    except Exception as error:  # noqa: BLE001 -- as above
        logger.warning("%s: has no description (%s)", model_uri, class_and_line(error))
        return
    if version is not None:
        registered = RegisteredModel(name=version.name, version=int(version.version))
        write_description(registered, lambda: _finetuned_description(registered, run_id))


def training_rows(run_id: str) -> list[Row]:
    """Return what a version was trained on and how well it did, as rows of a table.

    Raises:
        MlflowException: If there is no such run, or MLflow cannot be reached.
    """
    run = connect().get_run(run_id)
    split: dict[str, Any] = read_logged_json(run_id, _SPLIT_FILE) or {}
    parts = ", ".join(f"{rows:,} {part}" for part, rows in split.get("rows", {}).items())
    rows = [
        ("labels", _names(split.get("labels", ()))),
        ("base model", shown(run.data.params.get("base_model", "unknown"))),
        ("data", shown(run.data.params.get("source", "unknown"))),
        ("rows", parts or "unknown"),
    ]
    if parent := run.data.tags.get(PARENT_TAG):
        learnt = run.data.tags.get(FEEDBACK_ROWS_TAG, "unknown")
        rows.append(("feedback", shown(f"{learnt} rows, learnt by {parent}")))
    figures = {
        name: run.data.metrics[key] for key, name in _FIGURES.items() if key in run.data.metrics
    }
    rows += [(f"{name}, test rows", f"{value:.4f}") for name, value in figures.items()]
    return rows if figures else [*rows, ("figures", "not evaluated yet")]


def shown(value: str) -> str:
    """Return a value that came from others: on one line, bounded, and without markup."""
    cut = value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 1]}…"
    return escape_markdown(printable(cut))


def facts_table(rows: Iterable[Row]) -> str:
    """Return names and values as a Markdown table."""
    return markdown_table(("", ""), rows)


def _names(labels: Sequence[str]) -> str:
    names = [
        label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"
        for label in map(str, labels[:_MOST_LABELS])
    ]
    more = len(labels) - len(names)
    return ", ".join(map(shown, names)) + (f", and {more} more" if more else "") or "unknown"


def _finetuned_description(registered: RegisteredModel, run_id: str) -> str:
    is_static = connect().get_run(run_id).data.params.get("base_model") == "static"
    kind = "A linear model" if is_static else "A transformer, fine-tuned"
    return f"""{kind} to classify texts.

{facts_table([*training_rows(run_id), ("training run", run_id)])}

Wrap it as a pipeline:

```sh
python -m flows.build_inference_pipeline --finetuned-model {registered.version}
```

Load it alone:

```python
import mlflow
import pandas as pd

model = mlflow.pyfunc.load_model("{registered.uri}")
print(model.predict(pd.DataFrame({{"text": ["a text"]}})))
```
"""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
