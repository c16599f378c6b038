"""A composition file chooses the detector, and routes by the languages that it reports."""

from pathlib import Path

import pytest

from pyfunc.composition.tree import Route
from tasks.common.errors import ParameterError
from tasks.composition.composition_file import read_composition


def write_routes(folder: Path, detector: str, *languages: str) -> Path:
    routes = ", ".join(f"{language}: own" for language in languages)
    path = folder / "routes.yaml"
    path.write_text(
        f"""
{detector}
members:
  own: {{model: 1}}
  rest: {{model: 2}}
answer: {{route: language, to: {{{routes}}}, else: rest}}
"""
    )
    return path


def test_a_composition_file_has_gcld3_or_names_another(tmp_path: Path) -> None:
    assert read_composition(write_routes(tmp_path, "", "de", "und", "no")).detector == "gcld3"
    fasttext = write_routes(tmp_path, "detector: fasttext", "de", "yue")
    assert read_composition(fasttext).detector == "fasttext"


def test_a_route_takes_every_spelling_of_a_language_and_has_that_of_the_detectors(
    tmp_path: Path,
) -> None:
    found = read_composition(write_routes(tmp_path, "", "iw", "DE", "zh-latn", "tl", "nb"))
    assert isinstance(found.answer, Route)
    assert [code for code, _ in found.answer.to] == ["he", "de", "zh-Latn", "fil", "no"]


def test_a_detector_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_routes(tmp_path, "detector: cld2", "de")
    expected = f"^{path}: detector: 'cld2'; input should be 'gcld3', 'py3langid' or 'fasttext'"
    with pytest.raises(ParameterError, match=expected):
        read_composition(path)


@pytest.mark.parametrize(
    ("detector", "language"),
    [("", "yue"), ("detector: fasttext", "zh-Latn"), ("detector: py3langid", "EN-latn")],
)
def test_a_route_for_a_language_that_is_never_reported_is_refused(
    tmp_path: Path, detector: str, language: str
) -> None:
    path = write_routes(tmp_path, detector, "de", language)
    expected = rf"^{path}: answer.to: \['{language}'\]; expected languages that \w+ reports, of: "
    with pytest.raises(ParameterError, match=expected):
        read_composition(path)
