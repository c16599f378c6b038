"""Requests of the flows that compare versions: parameters checked before anything is started.

As `flows/run_requests.py`, it is apart from the flows, whose files Prefect loads a second time.
"""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel
from tasks.common.urls import resolved_path
from tasks.comparison.types import ComparedFolder, ComparedOutputs, OtherVersion, PresentVersion
from tasks.inputs.input_files import check_inputs
from tasks.inputs.types import Inputs
from tasks.shadow.types import ShadowedOutput
from tasks.tracking.names import CHALLENGER, CHAMPION, parse_pipeline_reference

_OUTPUT = "the output folder of a scoring"


class ComparisonRequest(FrozenModel):
    """What compare-pipelines is asked to do, as far as it can be checked without registry.

    Raises:
        ParameterError: If there is nothing to compare, or a reference means nothing.
    """

    inputs: Inputs = ()
    outputs: ComparedOutputs = ()
    output_dir: ComparedFolder = ""
    champion: PresentVersion = CHAMPION
    challenger: OtherVersion = CHALLENGER

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.outputs:
            if self.inputs:
                raise ParameterError("outputs: beside inputs; expected one of them")
            if self.output_dir:
                raise ParameterError(
                    f"output_dir: {self.output_dir!r} beside outputs, of which none is scored; "
                    "expected one of them"
                )
            if len(self.outputs) != 2 or len(set(self.folders)) != 2:
                raise ParameterError(
                    f"outputs: {' '.join(self.outputs)}; expected two folders, that of the "
                    "champion first"
                )
            for folder in self.folders:
                if not (folder / "records").is_dir():
                    raise ParameterError(f"outputs: {folder} has no records; expected {_OUTPUT}")
            return self
        if not self.inputs:
            raise ParameterError(
                "inputs: missing; expected files that both versions score, or outputs, the folders "
                "of two scorings"
            )
        check_inputs(self.inputs)
        parse_pipeline_reference(self.champion, parameter="champion")
        parse_pipeline_reference(self.challenger, parameter="challenger")
        return self

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of `outputs`."""
        return tuple(resolved_path("outputs", folder, _OUTPUT) for folder in self.outputs)


class ShadowRequest(FrozenModel):
    """Which output a shadow is compared in, as far as it can be checked without registry.

    Raises:
        ParameterError: If the folder is no output, or a reference means nothing.
    """

    output_dir: ShadowedOutput
    champion: PresentVersion = CHAMPION
    challenger: OtherVersion = CHALLENGER

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.folder / "records").is_dir():
            raise ParameterError(f"output_dir: {self.folder} has no records; expected {_OUTPUT}")
        parse_pipeline_reference(self.champion, parameter="champion")
        parse_pipeline_reference(self.challenger, parameter="challenger")
        return self

    @property
    def folder(self) -> Path:
        """The output folder."""
        return resolved_path("output_dir", self.output_dir, _OUTPUT)
