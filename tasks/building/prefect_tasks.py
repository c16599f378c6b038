"""Prefect tasks that build, verify, register and promote the inference pipeline."""

from prefect import task

from tasks.building.types import LoggedPipeline, PipelineParameters, PromotionDecision
from tasks.common.task_errors import RETRY_LONG_WORK, RETRY_MLFLOW, RETRY_ONCE, step
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL, RegisteredModel


@task(name="find fine-tuned model", **RETRY_MLFLOW)
def find_finetuned_model(reference: str) -> RegisteredModel:
    """Return the version of `dl_finetuned_model` with that number, alias or URI."""
    from tasks.tracking.registry import find_version

    version = find_version(FINETUNED_MODEL, reference, parameter="finetuned_model")
    return RegisteredModel(name=FINETUNED_MODEL, version=int(version.version))


@task(name="log pipeline", **RETRY_LONG_WORK)
def log_pipeline(finetuned: RegisteredModel, parameters: PipelineParameters) -> LoggedPipeline:
    """Wrap the fine-tuned model, with the code of `pyfunc/`, as one MLflow model."""
    from tasks.building import packaging

    return packaging.log_pipeline(finetuned, parameters)


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


@task(name="choose champion", **RETRY_ONCE)
def choose_champion(registered: RegisteredModel) -> PromotionDecision:
    """Compare a new version with the champion and give it its alias."""
    from tasks.building.promotion import decide_promotion

    return decide_promotion(registered)


@task(name="make champion", **RETRY_MLFLOW)
def make_champion(registered: RegisteredModel) -> PromotionDecision:
    """Make a new version champion without a comparison."""
    from tasks.building.promotion import promote_by_hand

    reason = "promoted as it was built, without a comparison"
    promote_by_hand(registered.uri, reason)
    return PromotionDecision(alias="champion", reason=reason)


@step(name="promote pipeline", **RETRY_MLFLOW)
def promote_version(reference: str, reason: str) -> RegisteredModel:
    """Make a version champion; the reference `previous` restores the champion before."""
    from tasks.building.promotion import promote_by_hand

    return promote_by_hand(reference, reason)
