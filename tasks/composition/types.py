"""Types of what a pipeline is made of: flow parameters, and the plan of a pipeline."""

from typing import Annotated, Any, Literal, Self

from pydantic import PlainSerializer, PlainValidator, model_validator

from pyfunc.composition.tree import Average, Cascade, Node, Route, Vote
from pyfunc.composition.tree_json import parse_tree, to_json
from pyfunc.detectors.selection import DEFAULT_DETECTOR, DetectorName
from pyfunc.spec import PipelineKind
from tasks.business.types import BusinessPlan
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about, path_of
from tasks.tracking.names import SINGLE_MEMBER, RegisteredModel

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
DetectorChoice = Annotated[
    DetectorName,
    about("What detects the language of a text; docs/languages.md compares them."),
]
CompositionPath = Annotated[
    str,
    path_of("composition", "a composition file in YAML"),
    about(
        "A YAML file that describes a pipeline of several fine-tuned models, in place of "
        "finetuned_model; empty for one."
    ),
]

MAX_MEMBERS = 16


def _as_tree(value: Any) -> Node:
    return value if isinstance(value, Average | Vote | Cascade | Route) else parse_tree(value)


Tree = Annotated[Node, PlainValidator(_as_tree), PlainSerializer(to_json)]


class MemberParameters(FrozenModel):
    """What shapes a member of a pipeline besides its fine-tuned model.

    Raises:
        ParameterError: If the engine has no such precision.
    """

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


class PipelineParameters(MemberParameters):
    """What shapes a pipeline of a single fine-tuned model.

    Its fields are parameters of the flow build-inference-pipeline.

    Raises:
        ParameterError: If the engine has no such precision, or a plain pipeline has a detector.
    """

    pipeline: PipelineKindChoice = "full"
    detector: DetectorChoice = DEFAULT_DETECTOR

    @model_validator(mode="after")
    def _check_detector(self) -> Self:
        if self.pipeline == "plain" and self.detector != DEFAULT_DETECTOR:
            raise ParameterError(
                f"detector: {self.detector}; expected pipeline full with it, since plain detects "
                "no language"
            )
        return self


class MemberCheck(FrozenModel):
    """What was measured of a member, alone and in its composition.

    Attributes:
        accuracy: The share of the rows that it labels right; None if it only chooses a route.
        share: The share of the rows that it decides.
        rows_per_second: Of it alone.
    """

    accuracy: float | None
    share: float
    rows_per_second: float


class CompositionCheck(FrozenModel):
    """What was measured of a composition, on rows that no member was trained on.

    Attributes:
        rows: How many.
        accuracy: The share of them that the whole labels right.
        agreement: The share of them to which the whole and its last member give one label.
        rows_per_second: Of the whole.
        members: What was measured of each member.
    """

    rows: int
    accuracy: float
    agreement: float
    rows_per_second: float
    members: dict[str, MemberCheck]

    def __str__(self) -> str:
        deciders = (
            f"{name} {member.share:.1%}" for name, member in self.members.items() if member.share
        )
        return f"accuracy {self.accuracy:.4f} on {self.rows} rows; decided by {', '.join(deciders)}"


class PlannedMember(MemberParameters):
    """A member that is to be built.

    Attributes:
        finetuned: A version of `dl_finetuned_model`.
    """

    finetuned: RegisteredModel


class PipelinePlan(FrozenModel):
    """A pipeline that is to be built; its versions are numbers, whatever they were called.

    Attributes:
        kind: `full` or `plain`.
        members: Its fine-tuned models by name.
        answer: Who answers.
        detector: What detects the language of a text.
        business: Look-ups and rules around the model, if there are any.
        file: The composition file, for errors; it shapes nothing.
    """

    kind: PipelineKind
    members: dict[str, PlannedMember]
    answer: Tree
    detector: DetectorName = DEFAULT_DETECTOR
    business: BusinessPlan | None = None
    file: str = "composition"

    @classmethod
    def of(cls, finetuned: RegisteredModel, parameters: PipelineParameters) -> Self:
        """Return the plan of a single fine-tuned model."""
        shape = parameters.model_dump(exclude={"pipeline", "detector"})
        return cls(
            kind=parameters.pipeline,
            members={SINGLE_MEMBER: PlannedMember(finetuned=finetuned, **shape)},
            answer=SINGLE_MEMBER,
            detector=parameters.detector,
        )
