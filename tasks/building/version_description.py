"""The description of a registered pipeline version: what it is, its gates, and how to use it."""

import json

from pyfunc.business.spec import BusinessSpec
from pyfunc.composition.tree_json import to_json
from tasks.building.types import Gate, LoggedMember, LoggedPipeline
from tasks.common.text import markdown_table
from tasks.composition.types import CompositionCheck
from tasks.tracking.descriptions import facts_table, shown, training_rows
from tasks.tracking.names import RegisteredModel

_KINDS = {
    "full": (
        "Text in, an answer as JSON out: prediction cache, language detection and a fine-tuned "
        "model in one MLflow model."
    ),
    "plain": "Text in, a label out: a fine-tuned model without cache and language detection.",
}

_COMPOSED = (
    "Text in, an answer as JSON out: prediction cache, language detection and several fine-tuned "
    "models in one MLflow model. Who answers:"
)


def pipeline_description(registered: RegisteredModel, logged: LoggedPipeline) -> str:
    """Return the Markdown of a pipeline version.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    if logged.single is not None:
        kind, members = _KINDS[logged.kind], _describe_member(logged.single)
    else:
        kind = f"{_COMPOSED}\n\n```json\n{json.dumps(to_json(logged.answer), indent=2)}\n```"
        parts = (f"### {name}\n\n{_describe_member(m)}" for name, m in logged.members.items())
        members = "\n\n".join([_describe_check(logged.check), *parts])
    if logged.business is not None:
        members += f"\n\n{_describe_logic(logged.business, logged.rules_digest)}"
    if logged.kind == "full":
        kind += f"\n\nThe language of a text is detected by {logged.detector}."
    return f"{kind}\n\n{members}\n\n{_usage(registered, logged)}"


def _describe_check(check: CompositionCheck | None) -> str:
    if check is None:
        return ""
    rows = [
        (
            name,
            "" if found.accuracy is None else f"{found.accuracy:.4f}",
            f"{found.share:.1%}",
            f"{found.rows_per_second:,.0f}",
        )
        for name, found in check.members.items()
    ]
    rows.append(("the whole", f"{check.accuracy:.4f}", "", f"{check.rows_per_second:,.0f}"))
    table = markdown_table(("", "accuracy", "share of the rows it decides", "rows/s"), rows)
    return f"""**Composition**: measured on {check.rows:,} test rows that no member was trained on.
It gives the label of its last member to {check.agreement:.1%} of them.

{table}"""


def _describe_logic(business: BusinessSpec, digest: str) -> str:
    rows = [
        (
            shown(lookup.name),
            shown(lookup.source),
            shown(lookup.key),
            shown(", ".join(lookup.columns)),
        )
        for lookup in business.lookups
    ]
    lookups = markdown_table(("look-up", "source", "key", "columns"), rows) if rows else ""
    facts = [
        ("rules", shown(business.rules_file or "none")),
        ("decisions", shown(", ".join(business.decisions) or "none")),
        ("digest of look-ups and rules", digest),
    ]
    return f"""**Business logic** around the model:

{lookups}

{facts_table(facts)}"""


def _describe_member(member: LoggedMember) -> str:
    facts = [
        ("fine-tuned model", member.finetuned_model_uri),
        *training_rows(member.training_run_id),
        ("longer texts are cut to", f"{member.max_tokens} tokens"),
        ("engine where it was built", f"{member.engine} {member.precision}"),
    ]
    if member.taken_over_from:
        facts.append(("quality gates", f"taken over from {member.taken_over_from}"))
    gates = markdown_table(
        ("engine", "used", "checked rows", "same label", "accuracy"),
        map(_gate_cells, member.gates),
    )
    return f"""{facts_table(facts)}

**Quality gates**: does an engine give the labels of the fine-tuned model, on rows that the training
did not see?

{gates}"""


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
