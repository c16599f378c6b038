"""Build the inference pipeline: wrap, log, check, register, choose the champion."""

from typing import Any

from prefect import flow

from tasks.building.prefect_tasks import (
    check_pipeline,
    choose_champion,
    find_finetuned_model,
    log_pipeline,
    make_champion,
    register_pipeline,
)
from tasks.building.types import PipelineParameters
from tasks.common.console import print_table
from tasks.parameters import EngineChoice, Kind, NotNegative, PrecisionChoice, Promotion


@flow(name="build-inference-pipeline")
def build_inference_pipeline(
    finetuned_model: str = "latest",
    pipeline: Kind = "full",
    max_tokens: NotNegative = 0,
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    promotion: Promotion = "if_no_worse",
) -> dict[str, Any]:
    """Wrap a fine-tuned model as one MLflow model and register it as inference_pipeline_model.

    Args:
        finetuned_model: Version of dl_finetuned_model: a number, an alias, a URI, or latest.
        pipeline: full has all five steps, plain is the classifier without what is around it.
        max_tokens: Longer texts are cut to this many tokens; 0 takes what the model was
            trained with.
        engine: What computes the transformer; auto takes the fastest of those that the machine
            supports and that answer as the fine-tuned model does, measured on rows that it was
            not trained on.
        precision: Number format of its matrix products; auto takes bf16 where that answers alike,
            else f32. int8 is faster still, and differs in a label or so of a hundred.
        promotion: When the version becomes champion: if its accuracy on its test rows is no lower
            than the champion's, or always.

    Returns:
        The report: the version, its alias and why it has it.
    """
    parameters = PipelineParameters(
        pipeline=pipeline, max_tokens=max_tokens, engine=engine, precision=precision
    )
    finetuned = find_finetuned_model(finetuned_model)
    logged = log_pipeline(finetuned, parameters)
    check_pipeline(logged)
    registered = register_pipeline(logged)
    decide = make_champion if promotion == "always" else choose_champion
    standing = decide(registered)
    report = {
        "finetuned_model": finetuned.uri,
        "inference_pipeline_model": registered.uri,
        "alias": standing.alias,
        "reason": standing.reason,
        "engine": f"{logged.engine} {logged.precision}",
        "left_out": {
            f"{gate.engine} {gate.precision}": gate.reason for gate in logged.gates if gate.reason
        },
        "fingerprint": logged.fingerprint,
        "reused": registered.reused,
    }
    print_table("Built inference pipeline", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(build_inference_pipeline)
