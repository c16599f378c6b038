"""Building, checking, registering and promoting the inference pipeline, as Prefect tasks."""

from typing import Annotated, Literal

from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from pyfunc.spec import Kind, Precision
from tasks.retrying import unless_refused
from tasks.training import REGISTERED_NAME as FINETUNED_NAME
from tasks.training import RegisteredModel

REGISTERED_NAME = "inference_pipeline_model"
EXPERIMENT = "build-inference-pipeline"


class PipelineParameters(BaseModel):
    """What shapes an inference pipeline besides the fine-tuned model.

    Attributes:
        pipeline: `full` for the five steps, `plain` for the classifier alone.
        max_tokens: Longer texts are cut to this many tokens; 0 takes what it was trained with.
        precision: Number format of the transformer's matrix products.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: Kind = "full"
    max_tokens: Annotated[int, Field(ge=0)] = 0
    precision: Precision = "f32"


class LoggedPipeline(BaseModel):
    """A pipeline in MLflow, not yet registered.

    Attributes:
        run_id: The MLflow run that logged it.
        model_uri: The logged model, as `models:/m-…`.
        kind: `full` or `plain`.
        fingerprint: Digest of all that can change its answers.
        finetuned_model_uri: The registered version inside.
        training_run_id: The MLflow run that trained that version; it holds the test rows.
        labels: The labels that it answers with.
        max_tokens: Longer texts are cut to this many tokens.
        precision: Number format of the transformer's matrix products.
        reused: Whether an equal pipeline had been logged already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    model_uri: str
    kind: Kind
    fingerprint: str
    finetuned_model_uri: str
    training_run_id: str
    labels: tuple[str, ...]
    max_tokens: int
    precision: Precision
    reused: bool = False


class Standing(BaseModel):
    """Where a version stands after the comparison with the champion.

    Attributes:
        alias: `champion`, `challenger`, or `None` for a plain pipeline.
        reason: The figures behind it, in one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: Literal["champion", "challenger"] | None
    reason: str


@task(
    name="find fine-tuned model",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=unless_refused,
)
def find_finetuned_model(reference: str) -> RegisteredModel:
    """Return the version of `dl_finetuned_model` that a number, alias or URI means."""
    from tasks.registry import find_version

    version = find_version(FINETUNED_NAME, reference)
    return RegisteredModel(name=FINETUNED_NAME, version=int(version.version))


@task(name="log pipeline", retries=2, retry_delay_seconds=5, retry_condition_fn=unless_refused)
def log_pipeline(finetuned: RegisteredModel, parameters: PipelineParameters) -> LoggedPipeline:
    """Wrap the fine-tuned model, with the code of `pyfunc/`, as one MLflow model."""
    from tasks.packaging import log

    return log(finetuned, parameters)


@task(name="check pipeline", retries=1, retry_condition_fn=unless_refused)
def check_pipeline(logged: LoggedPipeline) -> None:
    """Compare a fresh process's answers with the fine-tuned model's own."""
    from tasks.packaging import check

    check(logged)


@task(name="register pipeline", retries=3, retry_delay_seconds=5, retry_condition_fn=unless_refused)
def register_pipeline(logged: LoggedPipeline) -> RegisteredModel:
    """Register the logged pipeline as `inference_pipeline_model`, once."""
    from tasks.packaging import version_tags
    from tasks.registry import register

    tags = version_tags(logged)
    return register(REGISTERED_NAME, logged.model_uri, run_id=logged.run_id, tags=tags)


@task(name="choose champion", retries=1, retry_condition_fn=unless_refused)
def choose_champion(registered: RegisteredModel) -> Standing:
    """Compare a new version with the champion and give it its alias."""
    from tasks.promotion import choose

    return choose(registered)


@task(name="promote pipeline", retries=2, retry_delay_seconds=5, retry_condition_fn=unless_refused)
def promote(reference: str, reason: str) -> RegisteredModel:
    """Make the version that `reference` means champion; `previous` goes back."""
    from tasks.promotion import promote_by_hand

    return promote_by_hand(reference, reason)
