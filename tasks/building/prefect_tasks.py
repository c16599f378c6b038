"""Prefect tasks that build, verify and register the inference pipeline."""

from prefect import task

from tasks.building.types import LoggedPipeline
from tasks.common.task_errors import RETRY_LONG_WORK, RETRY_MLFLOW, RETRY_ONCE
from tasks.composition.types import PipelineParameters, PipelinePlan
from tasks.tracking.names import PIPELINE_MODEL, RegisteredModel


@task(name="find fine-tuned model", **RETRY_MLFLOW)
def plan_pipeline(reference: str, parameters: PipelineParameters) -> PipelinePlan:
    """Plan the pipeline of a version of `dl_finetuned_model`: a number, an alias or a URI."""
    from tasks.composition import planning

    return planning.plan_pipeline(reference, parameters)


@task(name="find members", **RETRY_MLFLOW)
def plan_composition(path: str) -> PipelinePlan:
    """Plan the pipeline that a composition file describes."""
    from tasks.composition import planning

    return planning.plan_composition(path)


@task(name="plan learnt pipeline", **RETRY_MLFLOW)
def plan_learnt_pipeline(
    pipeline: RegisteredModel, learnt: dict[str, RegisteredModel]
) -> PipelinePlan:
    """Plan a registered version once more, with versions that learnt in the place of members."""
    from tasks.building.replanning import replan

    return replan(pipeline, learnt)


@task(name="log pipeline", **RETRY_LONG_WORK)
def log_pipeline(plan: PipelinePlan) -> LoggedPipeline:
    """Wrap the fine-tuned models, with the code of `pyfunc/`, as one MLflow model."""
    from tasks.building import packaging

    return packaging.log_pipeline(plan)


@task(name="check pipeline", **RETRY_ONCE)
def check_pipeline(logged: LoggedPipeline) -> None:
    """Compare the predictions of a fresh process with those of the fine-tuned model."""
    from tasks.building.verification import verify_pipeline

    verify_pipeline(logged)


@task(name="register pipeline", **RETRY_MLFLOW)
def register_pipeline(logged: LoggedPipeline) -> RegisteredModel:
    """Register the logged pipeline as `inference_pipeline_model`, once."""
    from tasks.building.packaging import version_tags
    from tasks.building.version_description import pipeline_description
    from tasks.tracking.descriptions import INFERENCE_PIPELINES, write_description
    from tasks.tracking.registry import register_version

    found = register_version(
        PIPELINE_MODEL,
        logged.model_uri,
        run_id=logged.run_id,
        tags=version_tags(logged),
        description=INFERENCE_PIPELINES,
    )
    write_description(found, lambda: pipeline_description(found, logged))
    return found
