"""The language detectors by name: another one is a module and an entry here."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ..errors import UnsupportedError
from .detector import LanguageDetector
from .fasttext import FastTextDetector
from .gcld3 import Gcld3Detector
from .py3langid import Py3langidDetector

DetectorName = Literal["gcld3", "py3langid", "fasttext"]

DETECTORS: Mapping[DetectorName, type[LanguageDetector]] = MappingProxyType(
    {"gcld3": Gcld3Detector, "py3langid": Py3langidDetector, "fasttext": FastTextDetector}
)

DEFAULT_DETECTOR: DetectorName = "gcld3"


def open_detector(
    name: DetectorName = DEFAULT_DETECTOR, folder: Path | None = None
) -> LanguageDetector:
    """Open a detector.

    Args:
        name: Which one.
        folder: Where copies of its files are; without it the installed ones are used.

    Raises:
        ArtifactError: If a file is missing or damaged.
        UnsupportedError: If its library is not installed.
    """
    try:
        return DETECTORS[name](folder)
    except ImportError as error:
        packages = " ".join(DETECTORS[name].libraries)
        raise UnsupportedError(
            f"the detector {name} cannot be imported ({error}); pip install {packages}"
        ) from error
