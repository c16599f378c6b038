"""The files of a language detector, copied into the artifact of a pipeline."""

import shutil
from pathlib import Path

from pyfunc.detectors.detector import LanguageDetector
from pyfunc.detectors.selection import DETECTORS, DetectorName, open_detector
from pyfunc.errors import PipelineError
from pyfunc.spec import detector_folder
from tasks.common.errors import ParameterError


def open_for_build(name: DetectorName) -> LanguageDetector:
    """Open the detector that a pipeline is to have, with the installed files.

    Raises:
        ParameterError: If its library or its model is not installed, or is damaged.
    """
    try:
        return open_detector(name)
    except PipelineError as error:
        raise ParameterError(f"detector: {error}") from error


def copy_detector_files(name: DetectorName, artifact: Path) -> None:
    """Copy the files that a detector has outside its library into an artifact."""
    for file in DETECTORS[name].files():
        folder = detector_folder(artifact)
        folder.mkdir(exist_ok=True)
        shutil.copyfile(file, folder / file.name)
