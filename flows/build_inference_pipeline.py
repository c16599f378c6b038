"""Build the inference pipeline: wrap, log, verify, register, choose the champion."""

from collections.abc import Mapping
from typing import Any

from prefect import flow

from flows.parameters import described, form, record_from
from flows.run_requests import LATEST, BuildRequest, FinetunedModel
from tasks.building import types as building
from tasks.building.prefect_tasks import (
    check_pipeline,
    log_pipeline,
    plan_composition,
    plan_pipeline,
    register_pipeline,
)
from tasks.common.console import print_table
from tasks.common.task_errors import reporting_failures
from tasks.composition import types as plans
from tasks.promotion.prefect_tasks import choose_champion
from tasks.promotion.types import Promotion

PIPELINE = plans.PipelineParameters()


@reporting_failures
@form("finetuned_model", "composition", "promotion")
@flow(name="build-inference-pipeline")
@described
def build_inference_pipeline(
    finetuned_model: FinetunedModel = LATEST,
    pipeline: plans.PipelineKindChoice = PIPELINE.pipeline,
    max_tokens: plans.PipelineTokenLimit = PIPELINE.max_tokens,
    engine: plans.EngineChoice = PIPELINE.engine,
    precision: plans.PrecisionChoice = PIPELINE.precision,
    promotion: Promotion = "if_better",
    composition: plans.CompositionPath = "",
    detector: plans.DetectorChoice = PIPELINE.detector,
) -> dict[str, Any]:
    """Wrap a fine-tuned model, or several, as one MLflow model: inference_pipeline_model.

    Returns:
        The report: the version, its alias and why it has it.
    """
    given = locals()
    request = record_from(BuildRequest, given)
    parameters = record_from(plans.PipelineParameters, given)
    if request.composition:
        plan = plan_composition(request.composition)
    else:
        plan = plan_pipeline(finetuned_model, parameters)
    logged = log_pipeline(plan)
    check_pipeline(logged)
    registered = register_pipeline(logged)
    decision = choose_champion(registered, promotion)
    report = {
        **logged.sources,
        "inference_pipeline_model": registered.uri,
        "alias": decision.alias,
        "reason": decision.reason,
        **logged.engines,
        "detector": logged.detector,
        "not_used": logged.unused(building.reasons_by_variant),
        **logged.taken_over,
        **({"composition": logged.check.model_dump()} if logged.check else {}),
        **logged.logic,
        "fingerprint": logged.fingerprint,
        "reused": registered.reused,
        "answers_now": decision.describe_answering(registered),
    }
    shown = report | {"not_used": logged.unused(building.reasons_by_variants)}
    if logged.check is not None:
        shown["composition"] = str(logged.check)
    print_table("Built inference pipeline", shown)
    return report


def check_members(parameters: Mapping[str, Any]) -> None:
    """Check the members of a composition against the registry, as the flow's first task does.

    Args:
        parameters: Those that the command was given.

    Raises:
        ParameterError: If a member is no version, or members do not fit together.
    """
    if path := parameters.get("composition"):
        plan_composition.fn(path)


if __name__ == "__main__":
    from flows.command_line import run

    run(build_inference_pipeline, request=BuildRequest, check=check_members)
