"""A composition file chooses the detector, and routes by the languages that it reports."""

from pathlib import Path

import pytest

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


def test_a_detector_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_routes(tmp_path, "detector: cld2", "de")
    expected = f"^{path}: detector: 'cld2'; input should be 'gcld3', 'py3langid' or 'fasttext'"
    with pytest.raises(ParameterError, match=expected):
        read_composition(path)


@pytest.mark.parametrize(
    ("detector", "language"),
    [("", "yue"), ("", "iw"), ("detector: fasttext", "zh-Latn"), ("detector: py3langid", "DE")],
)
def test_a_route_for_a_language_that_is_never_reported_is_refused(
    tmp_path: Path, detector: str, language: str
) -> None:
    path = write_routes(tmp_path, detector, "de", language)
    expected = rf"^{path}: answer: \['{language}'\]; expected languages that \w+ reports, of: "
    with pytest.raises(ParameterError, match=expected):
        read_composition(path)
