"""Types of a pipeline: gates, logged model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from pyfunc.business.spec import BusinessSpec
from pyfunc.composition.tree import deciders_of
from pyfunc.detectors.selection import DEFAULT_DETECTOR, DetectorName
from pyfunc.spec import EngineName, PipelineKind, Precision
from tasks.common.parameter_types import FrozenModel
from tasks.composition.types import CompositionCheck, Tree
from tasks.tracking.names import SINGLE_MEMBER

# Absolute difference of softmax scores: those of a text depend on the others in its batch, and in
# int8 on rounding, which its quality gate limits further.
_TOLERANCE = {"f32": 1e-5, "bf16": 1e-2, "int8": 0.3}


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


def reasons_by_variant(gates: Sequence[Gate]) -> dict[str, str]:
    """Return why engines and precisions must not answer, each by its name."""
    return {f"{gate.engine} {gate.precision}": gate.reason for gate in gates if gate.reason}


def reasons_by_variants(gates: Sequence[Gate]) -> dict[str, str]:
    """Return why engines and precisions must not answer; those of one reason are named together."""
    names: dict[str, list[str]] = {}
    for gate in gates:
        if gate.reason:
            names.setdefault(gate.reason, []).append(f"{gate.engine} {gate.precision}")
    return {", ".join(found): reason for reason, found in names.items()}


class LoggedMember(FrozenModel):
    """A fine-tuned model in a logged pipeline.

    Attributes:
        finetuned_model_uri: Its registered version.
        training_run_id: The MLflow run that trained that version; it holds the test rows.
        labels: The labels that it answers with.
        max_tokens: Longer texts are cut to this many tokens.
        temperature: What the logits are divided by before the softmax; 1 in older versions.
        engine: What computes it on this machine.
        precision: Number format of its matrix products there.
        gates: What was found of each engine and precision, those that CPUs do fastest first.
        gate_key: Digest of all that they depend on; empty if they are to be measured by each build.
        folder: Where its weights are in the artifact, below `members/`.
        converted: SHA-256 of each file that OpenVINO reads, by its name.
        taken_over_from: The registered pipeline version that gates and converted files are those
            of; empty if this build measured them.
    """

    finetuned_model_uri: str
    training_run_id: str
    labels: tuple[str, ...]
    max_tokens: int
    temperature: float = 1.0
    engine: EngineName
    precision: Precision
    gates: tuple[Gate, ...]
    gate_key: str = ""
    folder: str = ""
    converted: dict[str, str] = Field(default_factory=dict)
    taken_over_from: str = ""


class BuiltPipeline(FrozenModel):
    """A pipeline that was built.

    Attributes:
        kind: `full` or `plain`.
        fingerprint: Digest of all that can change its answers on this machine.
        members: Its fine-tuned models by name.
        answer: Who answers.
        check: What was measured of a composition; None of a single fine-tuned model.
        detector: What detects languages; gcld3 in older versions.
        business: Look-ups and rules around the model, if there are any.
        rules_digest: SHA-256 of them; empty without.
    """

    kind: PipelineKind
    fingerprint: str
    members: dict[str, LoggedMember]
    answer: Tree
    check: CompositionCheck | None = None
    detector: DetectorName = DEFAULT_DETECTOR
    business: BusinessSpec | None = None
    rules_digest: str = ""

    @property
    def single(self) -> LoggedMember | None:
        """The fine-tuned model of a pipeline that has a single one and no tree."""
        return self.members[self.answer] if isinstance(self.answer, str) else None

    @property
    def sources(self) -> dict[str, Any]:
        """The fine-tuned versions inside, for a report."""
        if self.single is not None:
            return {"finetuned_model": self.single.finetuned_model_uri}
        members = self.members.items()
        return {"members": {name: member.finetuned_model_uri for name, member in members}}

    @property
    def engines(self) -> dict[str, Any]:
        """What computes each of them here, for a report."""
        if self.single is not None:
            return {"engine": f"{self.single.engine} {self.single.precision}"}
        members = self.members.items()
        return {"engines": {name: f"{m.engine} {m.precision}" for name, m in members}}

    @property
    def taken_over(self) -> dict[str, Any]:
        """The earlier versions whose gates were not measured again, for a report; or nothing."""
        found = {
            name: member.taken_over_from
            for name, member in self.members.items()
            if member.taken_over_from
        }
        if not found:
            return {}
        return {"taken_over_from": found if self.single is None else self.single.taken_over_from}

    @property
    def logic(self) -> dict[str, Any]:
        """Its look-ups and rules, for a report; nothing without."""
        if self.business is None:
            return {}
        return {
            "lookups": {lookup.name: lookup.source for lookup in self.business.lookups},
            "rules": self.business.rules_file,
            "decisions": list(self.business.decisions),
            "rules_digest": self.rules_digest,
        }

    def unused(self, reasons: Callable[[Sequence[Gate]], dict[str, str]]) -> dict[str, str]:
        """Return why engines and precisions do not answer, as `reasons` names those of a member."""
        if self.single is not None:
            return reasons(self.single.gates)
        return {
            f"{name}: {variant}": reason
            for name, member in self.members.items()
            for variant, reason in reasons(member.gates).items()
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it may answer with."""
        deciders = deciders_of(self.answer)
        members = (member for name, member in self.members.items() if name in deciders)
        return tuple(dict.fromkeys(label for member in members for label in member.labels))


class LoggedPipeline(BuiltPipeline):
    """A pipeline in MLflow, not yet registered.

    Attributes:
        run_id: The MLflow run that logged it.
        model_uri: The logged model, as `models:/m-…`.
        reused: Whether an equal pipeline had been logged already.
    """

    run_id: str
    model_uri: str
    reused: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_older_record(cls, values: Any) -> Any:
        """Take the record of a build from before there were several members."""
        if not isinstance(values, Mapping) or "members" in values:
            return values
        member = {name: values[name] for name in LoggedMember.model_fields if name in values}
        rest = {name: value for name, value in values.items() if name not in member}
        return rest | {"members": {SINGLE_MEMBER: member}, "answer": SINGLE_MEMBER}


def tolerance(precision: Precision, temperature: float) -> float:
    """Return how far a score may be off; a low temperature enlarges each difference of logits."""
    return _TOLERANCE[precision] * max(1.0, 1 / temperature)
