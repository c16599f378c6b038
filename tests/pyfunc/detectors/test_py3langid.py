import pytest

from pyfunc.detectors.detector import UNDETERMINED
from pyfunc.detectors.py3langid import Py3langidDetector
from pyfunc.detectors.selection import open_detector

DETECTOR = open_detector("py3langid")


@pytest.mark.parametrize("text", ["x", "x" * 1_000, "ϟϟϟϟ"])
def test_a_text_of_which_the_model_knows_nothing_has_no_language(text: str) -> None:
    assert DETECTOR.detect(text) == UNDETERMINED


def test_a_short_text_is_detected_but_not_reliably() -> None:
    found = DETECTOR.detect("My laptop is broken")
    assert (found.code, found.reliable) == ("en", False)


def test_what_is_no_language_is_not_reported() -> None:
    assert not {"zxx", "und"} & Py3langidDetector.codes
    assert DETECTOR.detect("x86_64-linux-gnu 0x7fff5fbff8c0 deadbeef") == UNDETERMINED
