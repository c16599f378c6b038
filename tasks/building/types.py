"""Types of a pipeline: flow parameters, gates, logged model, promotion decision and event."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import model_validator

from pyfunc.spec import EngineName, PipelineKind, Precision
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about
from tasks.tracking.names import CHAMPION, RegisteredModel, version_uri

# Absolute difference of softmax scores: those of a text depend on the others in its batch, and in
# int8 on rounding, which its quality gate limits further.
_TOLERANCE = {"f32": 1e-5, "bf16": 1e-2, "int8": 0.3}

PipelineKindChoice = Annotated[
    PipelineKind,
    about("full has all five steps, plain is the classifier without what is around it."),
]
PipelineTokenLimit = Annotated[
    int,
    about(
        "Longer texts are cut to this many tokens; 0 takes what the model was trained with.",
        ge=0,
    ),
]
EngineChoice = Annotated[
    Literal["auto", "openvino", "torch"],
    about(
        "What computes the transformer; auto takes the fastest of those that the machine "
        "supports and that answer as the fine-tuned model does, measured on rows that it was "
        "not trained on."
    ),
]
PrecisionChoice = Annotated[
    Literal["auto", "f32", "bf16", "int8"],
    about(
        "Number format of its matrix products; auto takes bf16 where that answers alike, else "
        "f32. int8 is faster still, and differs in a label or so of a hundred."
    ),
]
Promotion = Annotated[
    Literal["if_no_worse", "always"],
    about(
        "When the version becomes champion: if its accuracy is no lower than the champion's, on "
        "test rows that neither was trained on, or always."
    ),
]


class PipelineParameters(FrozenModel):
    """What shapes an inference pipeline besides the fine-tuned model.

    Its fields are parameters of the flow build-inference-pipeline.

    Raises:
        ParameterError: If the engine has no such precision.
    """

    pipeline: PipelineKindChoice = "full"
    max_tokens: PipelineTokenLimit = 0
    engine: EngineChoice = "auto"
    precision: PrecisionChoice = "auto"

    @model_validator(mode="after")
    def _check_precision(self) -> Self:
        if self.engine == "torch" and self.precision == "int8":
            raise ParameterError(
                "precision: torch has no int8 here; expected openvino or auto for it"
            )
        return self


class Gate(FrozenModel):
    """What an engine in a precision was found to answer, beside transformers in f32.

    Attributes:
        engine: The engine.
        precision: Number format of the transformer's matrix products.
        rows: Labelled rows, unseen in training.
        agreement: The share of those that the pipeline answers that got the same label from both.
        accuracy: The share of all that got the right label; a text that the pipeline refuses has
            a wrong one.
        reason: Why it must not answer; empty if it passed.
    """

    engine: EngineName
    precision: Precision
    rows: int = 0
    agreement: float | None = None
    accuracy: float | None = None
    reason: str = ""


def reasons_by_variants(gates: Sequence[Gate]) -> dict[str, str]:
    """Return why engines and precisions must not answer; those of one reason are named together."""
    names: dict[str, list[str]] = {}
    for gate in gates:
        if gate.reason:
            names.setdefault(gate.reason, []).append(f"{gate.engine} {gate.precision}")
    return {", ".join(found): reason for reason, found in names.items()}


class LoggedPipeline(FrozenModel):
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
        temperature: What the logits are divided by before the softmax; 1 in older versions.
        engine: What computes the transformer on this machine.
        precision: Number format of its matrix products there.
        gates: What was found of each engine and precision, those that CPUs do fastest first.
        reused: Whether an equal pipeline had been logged already.
    """

    run_id: str
    model_uri: str
    kind: PipelineKind
    fingerprint: str
    finetuned_model_uri: str
    training_run_id: str
    labels: tuple[str, ...]
    max_tokens: int
    temperature: float = 1.0
    engine: EngineName
    precision: Precision
    gates: tuple[Gate, ...]
    reused: bool = False


def tolerance(precision: Precision, temperature: float) -> float:
    """Return how far a score may be off; a low temperature enlarges each difference of logits."""
    return _TOLERANCE[precision] * max(1.0, 1 / temperature)


class PromotionDecision(FrozenModel):
    """Where a version stands after the comparison with the champion.

    Attributes:
        alias: `champion`, `challenger`, or `None` for a plain pipeline.
        reason: The metrics behind it, in one line.
    """

    alias: Literal["champion", "challenger"] | None
    reason: str

    def describe_answering(self, registered: RegisteredModel) -> str:
        """Return whether scoring uses the version now and, if not, the command for it."""
        if self.alias == CHAMPION:
            return f"yes, as {registered.name}@{CHAMPION}"
        if self.alias is None:
            return f"no: {self.reason}"
        return f"no; python -m flows.promote_pipeline --version {registered.version}"


PROMOTED = "millstream.pipeline.promoted"


def champion_resource(name: str, version: int, reason: str) -> dict[str, str]:
    """Return what the event says: the model, and in `millstream.model-uri` the version's URI.

    That URI cannot come to mean another version.
    """
    return {
        "prefect.resource.id": f"millstream.model.{name}",
        "prefect.resource.name": name,
        "millstream.model-uri": version_uri(name, version),
        "millstream.reason": reason,
    }
