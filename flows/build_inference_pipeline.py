"""Build the inference pipeline: wrap, log, check, register, choose the champion."""

from typing import Any

from prefect import flow

from tasks.console import print_table
from tasks.parameters import Kind, NotNegative, Precision
from tasks.pipelines import (
    PipelineParameters,
    check_pipeline,
    choose_champion,
    find_finetuned_model,
    log_pipeline,
    register_pipeline,
)


@flow(name="build-inference-pipeline")
def build_inference_pipeline(
    finetuned_model: str = "latest",
    pipeline: Kind = "full",
    max_tokens: NotNegative = 0,
    precision: Precision = "f32",
) -> dict[str, Any]:
    """Wrap a fine-tuned model as one MLflow model and register it as inference_pipeline_model.

    Args:
        finetuned_model: Version of dl_finetuned_model: a number, an alias, a URI, or latest.
        pipeline: full has all five steps, plain is the classifier without what is around it.
        max_tokens: Longer texts are cut to this many tokens; 0 takes what the model was
            trained with.
        precision: Number format of the transformer's matrix products.

    Returns:
        The report: the version, its alias and why it has it.
    """
    parameters = PipelineParameters(pipeline=pipeline, max_tokens=max_tokens, precision=precision)
    finetuned = find_finetuned_model(finetuned_model)
    logged = log_pipeline(finetuned, parameters)
    check_pipeline(logged)
    registered = register_pipeline(logged)
    standing = choose_champion(registered)
    report = {
        "finetuned_model": finetuned.uri,
        "inference_pipeline_model": registered.uri,
        "alias": standing.alias,
        "reason": standing.reason,
        "fingerprint": logged.fingerprint,
        "reused": registered.reused,
    }
    print_table("Built inference pipeline", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(build_inference_pipeline)
