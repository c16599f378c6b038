"""Building, checking, registering and promoting the inference pipeline, as Prefect tasks."""

import re
from typing import Annotated, Literal, Self

from prefect import task
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pyfunc.spec import EngineName, Kind, Precision
from tasks.common.errors import ParameterError
from tasks.common.task_errors import RETRY_LONG_WORK, RETRY_MLFLOW, RETRY_ONCE
from tasks.training import REGISTERED_NAME as FINETUNED_NAME
from tasks.training import RegisteredModel

REGISTERED_NAME = "inference_pipeline_model"
EXPERIMENT = "build-inference-pipeline"


EngineChoice = Literal["auto", "openvino", "torch"]
PrecisionChoice = Literal["auto", "f32", "bf16", "int8"]


class PipelineParameters(BaseModel):
    """What shapes an inference pipeline besides the fine-tuned model.

    Attributes:
        pipeline: `full` for the five steps, `plain` for the classifier alone.
        max_tokens: Longer texts are cut to this many tokens; 0 takes what it was trained with.
        engine: What computes the transformer; `auto` takes the fastest that passes its gate.
        precision: Number format of its matrix products; `auto` takes bf16 where that passes, else
            f32. int8 has to be asked for.

    Raises:
        ParameterError: If the engine has no such precision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: Kind = "full"
    max_tokens: Annotated[int, Field(ge=0)] = 0
    engine: EngineChoice = "auto"
    precision: PrecisionChoice = "auto"

    @model_validator(mode="after")
    def _check_precision(self) -> Self:
        if self.engine == "torch" and self.precision == "int8":
            raise ParameterError(
                "precision: torch has no int8 here; expected openvino or auto for it"
            )
        return self


class Gate(BaseModel):
    """What an engine in a precision was found to answer, beside torch in f32.

    Attributes:
        engine: The engine.
        precision: Number format of the transformer's matrix products.
        rows: Labelled rows, unseen in training, that both answered.
        agreement: The share of them that got the same label from both.
        accuracy: The share of them that got the right label.
        reason: Why it must not answer; empty if it passed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineName
    precision: Precision
    rows: int = 0
    agreement: float | None = None
    accuracy: float | None = None
    reason: str = ""


class LoggedPipeline(BaseModel):
    """A pipeline in MLflow, not yet registered.

    Attributes:
        run_id: The MLflow run that logged it.
        model_uri: The logged model, as `models:/m-…`.
        kind: `full` or `plain`.
        fingerprint: Digest of all that can change its answers on this machine.
        finetuned_model_uri: The registered version inside.
        training_run_id: The MLflow run that trained that version; it holds the test rows.
        labels: The labels that it answers with.
        max_tokens: Longer texts are cut to this many tokens.
        engine: What computes the transformer on this machine.
        precision: Number format of its matrix products there.
        gates: What was found of each engine and precision, those that CPUs do fastest first.
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
    engine: EngineName
    precision: Precision
    gates: tuple[Gate, ...]
    reused: bool = False


def parse_pipeline_reference(model_uri: str) -> tuple[str, str]:
    """Return the registered model that a reference to a pipeline names, and the number or alias.

    Args:
        model_uri: `models:/<name>/<number>`, `models:/<name>@<alias>`, or a number or alias of
            `inference_pipeline_model`.

    Raises:
        ParameterError: If it is of another form.
    """
    match = re.fullmatch(r"(?:models:/([^/@]+)[/@])?([\w.-]+)", model_uri)
    if match is None:
        raise ParameterError(
            f"model_uri: {model_uri!r}; expected a number, an alias, models:/<name>/<version> or "
            "models:/<name>@<alias>"
        )
    return match.group(1) or REGISTERED_NAME, match.group(2)


class Standing(BaseModel):
    """Where a version stands after the comparison with the champion.

    Attributes:
        alias: `champion`, `challenger`, or `None` for a plain pipeline.
        reason: The figures behind it, in one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: Literal["champion", "challenger"] | None
    reason: str


@task(name="find fine-tuned model", **RETRY_MLFLOW)
def find_finetuned_model(reference: str) -> RegisteredModel:
    """Return the version of `dl_finetuned_model` that a number, alias or URI means."""
    from tasks.registry import find_version

    version = find_version(FINETUNED_NAME, reference, parameter="finetuned_model")
    return RegisteredModel(name=FINETUNED_NAME, version=int(version.version))


@task(name="log pipeline", **RETRY_LONG_WORK)
def log_pipeline(finetuned: RegisteredModel, parameters: PipelineParameters) -> LoggedPipeline:
    """Wrap the fine-tuned model, with the code of `pyfunc/`, as one MLflow model."""
    from tasks.packaging import log

    return log(finetuned, parameters)


@task(name="check pipeline", **RETRY_ONCE)
def check_pipeline(logged: LoggedPipeline) -> None:
    """Compare a fresh process's answers with the fine-tuned model's own."""
    from tasks.checking import check

    check(logged)


@task(name="register pipeline", **RETRY_MLFLOW)
def register_pipeline(logged: LoggedPipeline) -> RegisteredModel:
    """Register the logged pipeline as `inference_pipeline_model`, once."""
    from tasks.packaging import version_tags
    from tasks.registry import register

    tags = version_tags(logged)
    return register(REGISTERED_NAME, logged.model_uri, run_id=logged.run_id, tags=tags)


@task(name="choose champion", **RETRY_ONCE)
def choose_champion(registered: RegisteredModel) -> Standing:
    """Compare a new version with the champion and give it its alias."""
    from tasks.promotion import choose

    return choose(registered)


@task(name="make champion", **RETRY_MLFLOW)
def make_champion(registered: RegisteredModel) -> Standing:
    """Make a new version champion, whatever its figures."""
    from tasks.promotion import promote_by_hand

    reason = "promoted as it was built, without a comparison"
    promote_by_hand(registered.uri, reason)
    return Standing(alias="champion", reason=reason)


@task(name="promote pipeline", **RETRY_MLFLOW)
def promote(reference: str, reason: str) -> RegisteredModel:
    """Make the version that `reference` means champion; `previous` goes back."""
    from tasks.promotion import promote_by_hand

    return promote_by_hand(reference, reason)
