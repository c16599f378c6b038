"""Requests: parameters of a run that are checked together before anything is read or started.

The classes have the names of the flows' parameters, so that `prefect.yaml` is checked by them too.
They are not in the flows' own files, which Prefect loads a second time, under another name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from flows.project_defaults import with_project
from flows.step_selection import Need, choose_steps
from tasks.arms.asked_split import check_split, split_with
from tasks.arms.types import ScoringModel
from tasks.cluster.addresses import check_runner
from tasks.cluster.types import RUNNER, Runner
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about
from tasks.composition.composition_file import read_composition
from tasks.composition.types import (
    CompositionPath,
    EngineChoice,
    PipelineKindChoice,
    PipelineParameters,
    PrecisionChoice,
)
from tasks.dataset.types import DataFiles
from tasks.delivery.types import DeliverRejectsTo, DeliverTo, check_targets
from tasks.inputs.input_files import check_inputs
from tasks.inputs.types import Inputs, InputSource
from tasks.output.language_policy import LanguagePolicy, Languages, LanguageThreshold, PolicyName
from tasks.output.traffic_split import (
    AskedSplit,
    SplitChoice,
    SplitKey,
    TrafficSplit,
    parse_split,
)
from tasks.scoring.types import OPTIONS, ModelUri, OnlyFailed, Resume
from tasks.shadow.types import SHADOWS, ShadowVersions
from tasks.tracking.names import parse_pipeline_reference
from tasks.training.types import FinetunedRunId

LANGUAGE, PIPELINE = with_project(LanguagePolicy), PipelineParameters()

Steps = Field(description="The steps to run, in their order; all runs every one.")

TrainingStep = Literal[
    "all", "download_data", "split_data", "fine_tuning_model", "evaluate_model", "register_model"
]
TrainingSteps = Annotated[Sequence[TrainingStep], Steps]
EndToEndStep = Literal[
    "all",
    "download_data",
    "fine_tuning_model",
    "register_model",
    "inference_pipeline_model",
    "score",
]
EndToEndSteps = Annotated[Sequence[EndToEndStep], Steps]

InputsOrHeldOut = Annotated[
    Sequence[InputSource],
    about("Files, folders or glob patterns to score; empty scores the held-out test rows."),
]
LATEST = "latest"
FinetunedModel = Annotated[
    str, about("Version of dl_finetuned_model: a number, an alias, a URI, or latest.")
]
FinetunedModelToStartFrom = Annotated[
    str,
    about(
        "Version of dl_finetuned_model to start from, without the step register_model: a "
        "number, an alias, a URI, or latest."
    ),
]

_NEEDS = (
    Need("fine_tuning_model", produced_by="download_data", parameter="data_files"),
    Need("register_model", produced_by="fine_tuning_model", parameter="finetuned_run_id"),
    Need("inference_pipeline_model", produced_by="register_model", parameter="finetuned_model"),
)


class ScoringRequest(FrozenModel):
    """What score-shards is asked to do, as far as it can be checked without files and registry.

    Raises:
        ParameterError: If parameters do not go together, or one means nothing.
    """

    inputs: Inputs
    model_uri: ModelUri = OPTIONS.model_uri
    split: SplitChoice = OPTIONS.split
    split_key: SplitKey = OPTIONS.split_key
    language_policy: PolicyName = LANGUAGE.policy
    languages: Languages = LANGUAGE.languages
    language_threshold: LanguageThreshold = LANGUAGE.threshold
    resume: Resume = OPTIONS.resume
    only_failed: OnlyFailed = OPTIONS.only_failed
    deliver_to: DeliverTo = OPTIONS.deliver_to
    deliver_rejects_to: DeliverRejectsTo = OPTIONS.deliver_rejects_to
    shadow: ShadowVersions = SHADOWS.shadow
    runner: Runner = RUNNER

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_inputs(self.inputs)
        if self.runner:
            check_runner(self.runner)
        check_targets(self.deliver_to, self.deliver_rejects_to)
        parse_pipeline_reference(self.model_uri)
        if self.only_failed and not self.resume:
            raise ParameterError(
                "only_failed: goes on from the run before; expected resume as well"
            )
        _ = self.language  # it checks itself
        check_split(self.split, self.split_key)
        self._check_shadow()
        return self

    def _check_shadow(self) -> None:
        for reference in self.shadow:
            parse_pipeline_reference(reference, parameter="shadow")
        if len(set(self.shadow)) != len(self.shadow):
            raise ParameterError(f"shadow: {list(self.shadow)}; expected each version once")
        if self.shadow and self.split:
            raise ParameterError(
                f"shadow: beside the split {self.split!r}, whose rows are of two versions; "
                "expected one of them"
            )

    @property
    def asked_split(self) -> AskedSplit | None:
        """The version and the share that `split` asks for; none if it is empty."""
        return parse_split(self.split) if self.split else None

    def split_with(self, challenger: ScoringModel | None) -> TrafficSplit | None:
        """Return the split between model_uri and a challenger; none without one."""
        if challenger is None or self.asked_split is None:
            return None
        return split_with(challenger, self.asked_split, self.split_key)

    @property
    def language(self) -> LanguagePolicy:
        """The language policy that the parameters mean."""
        return LanguagePolicy(
            policy=self.language_policy,
            languages=self.languages,
            threshold=self.language_threshold,
        )


class BuildRequest(PipelineParameters):
    """What build-inference-pipeline is asked to do, as far as it can be checked without registry.

    Raises:
        ParameterError: If the composition file is none, or parameters do not go together.
    """

    composition: CompositionPath = ""
    finetuned_model: FinetunedModel = LATEST

    @model_validator(mode="after")
    def _check_composition(self) -> Self:
        if not self.composition:
            return self
        fields = BuildRequest.model_fields
        for name in ("finetuned_model", *PipelineParameters.model_fields):
            if (value := getattr(self, name)) != fields[name].default:
                raise ParameterError(
                    f"{name}: {value!r} beside a composition; expected it in {self.composition}"
                )
        read_composition(Path(self.composition))
        return self


class EndToEndRequest(FrozenModel):
    """What end-to-end is asked to do, with what its steps need of each other.

    Raises:
        ParameterError: If a step has nothing to start from, parameters do not go together, or one
            means nothing.
    """

    steps: EndToEndSteps = ("all",)
    data_files: DataFiles = ()
    finetuned_run_id: FinetunedRunId = ""
    finetuned_model: FinetunedModelToStartFrom = ""
    inputs: InputsOrHeldOut = ()
    model_uri: ModelUri = OPTIONS.model_uri
    pipeline: PipelineKindChoice = PIPELINE.pipeline
    engine: EngineChoice = PIPELINE.engine
    precision: PrecisionChoice = PIPELINE.precision

    @property
    def todo(self) -> tuple[str, ...]:
        """The steps to run, in their order."""
        return choose_steps(self.steps, get_args(EndToEndStep)[1:], _NEEDS, dict(self))

    @model_validator(mode="after")
    def _check(self) -> Self:
        todo = self.todo
        PipelineParameters(pipeline=self.pipeline, engine=self.engine, precision=self.precision)
        if "score" not in todo:
            return self
        parse_pipeline_reference(self.model_uri)
        if self.inputs:
            check_inputs(self.inputs)
        elif "fine_tuning_model" not in todo:
            raise ParameterError(
                "inputs: missing; the step score without fine_tuning_model needs them"
            )
        if self.pipeline == "plain":
            raise ParameterError(
                "pipeline: plain answers with bare labels, which the step score cannot use; "
                "expected full, or steps without score"
            )
        return self
