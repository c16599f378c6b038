"""The description of a registered pipeline version: what it is, its gates, and how to use it."""

from tasks.building.types import Gate, LoggedPipeline
from tasks.common.text import markdown_table
from tasks.tracking.descriptions import facts_table, shown, training_rows
from tasks.tracking.names import RegisteredModel

_KINDS = {
    "full": (
        "Text in, an answer as JSON out: prediction cache, language detection and a fine-tuned "
        "transformer in one MLflow model."
    ),
    "plain": "Text in, a label out: a fine-tuned transformer without cache and language detection.",
}


def pipeline_description(registered: RegisteredModel, logged: LoggedPipeline) -> str:
    """Return the Markdown of a pipeline version.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    facts = [
        ("fine-tuned model", logged.finetuned_model_uri),
        *training_rows(logged.training_run_id),
        ("longer texts are cut to", f"{logged.max_tokens} tokens"),
        ("engine where it was built", f"{logged.engine} {logged.precision}"),
    ]
    gates = markdown_table(
        ("engine", "used", "checked rows", "same label", "accuracy"),
        map(_gate_cells, logged.gates),
    )
    return f"""{_KINDS[logged.kind]}

{facts_table(facts)}

**Quality gates**: does an engine give the labels of the fine-tuned model, on rows that the training
did not see?

{gates}

{_usage(registered, logged)}"""


def _gate_cells(gate: Gate) -> tuple[str, ...]:
    answers = f"no: {shown(gate.reason)}" if gate.reason else "yes"
    shares = ("" if share is None else f"{share:.2%}" for share in (gate.agreement, gate.accuracy))
    return f"{gate.engine} {gate.precision}", answers, f"{gate.rows:,}", *shares


def _usage(registered: RegisteredModel, logged: LoggedPipeline) -> str:
    serve = f"mlflow models serve --model-uri {registered.uri} --env-manager local --port 5001"
    load = f"""```python
import mlflow
import pandas as pd

model = mlflow.pyfunc.load_model("{registered.uri}")
print(model.predict(pd.DataFrame({{"text": ["a text"]}}))["text"][0])
```"""
    if logged.kind == "plain":
        return f"Load or serve it:\n\n{load}\n\n```sh\n{serve}\n```\n"
    return f"""Load it, or serve, use and promote it:

{load}

```sh
{serve}
python -m flows.score_shards --inputs 'inbox/*.csv' --output-dir scored --model-uri {registered.uri}
python -m flows.promote_pipeline --version {registered.version}
```
"""
