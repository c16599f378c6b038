"""Build the inference pipeline: wrap, log, verify, register, choose the champion."""

from typing import Annotated, Any

from prefect import flow

from flows.parameters import described, form, record_from
from tasks.building import types as building
from tasks.building.prefect_tasks import (
    check_pipeline,
    choose_champion,
    find_finetuned_model,
    log_pipeline,
    make_champion,
    register_pipeline,
)
from tasks.common.console import print_table
from tasks.common.parameter_types import about
from tasks.common.task_errors import reporting_failures

FinetunedModel = Annotated[
    str, about("Version of dl_finetuned_model: a number, an alias, a URI, or latest.")
]

PIPELINE = building.PipelineParameters()


@reporting_failures
@form("finetuned_model", "promotion")
@flow(name="build-inference-pipeline")
@described
def build_inference_pipeline(
    finetuned_model: FinetunedModel = "latest",
    pipeline: building.PipelineKindChoice = PIPELINE.pipeline,
    max_tokens: building.PipelineTokenLimit = PIPELINE.max_tokens,
    engine: building.EngineChoice = PIPELINE.engine,
    precision: building.PrecisionChoice = PIPELINE.precision,
    promotion: building.Promotion = "if_no_worse",
) -> dict[str, Any]:
    """Wrap a fine-tuned model as one MLflow model and register it as inference_pipeline_model.

    Returns:
        The report: the version, its alias and why it has it.
    """
    parameters = record_from(building.PipelineParameters, locals())
    finetuned = find_finetuned_model(finetuned_model)
    logged = log_pipeline(finetuned, parameters)
    check_pipeline(logged)
    registered = register_pipeline(logged)
    decide = make_champion if promotion == "always" else choose_champion
    decision = decide(registered)
    report = {
        "finetuned_model": finetuned.uri,
        "inference_pipeline_model": registered.uri,
        "alias": decision.alias,
        "reason": decision.reason,
        "engine": f"{logged.engine} {logged.precision}",
        "not_used": {
            f"{gate.engine} {gate.precision}": gate.reason for gate in logged.gates if gate.reason
        },
        "fingerprint": logged.fingerprint,
        "reused": registered.reused,
        "answers_now": decision.describe_answering(registered),
    }
    shown = report | {"not_used": building.reasons_by_variants(logged.gates)}
    print_table("Built inference pipeline", shown)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(build_inference_pipeline)
