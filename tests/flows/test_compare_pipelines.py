"""What cannot be compared is refused; `tests/system/promotion` compares."""

from pathlib import Path
from typing import Any

import pytest

from flows.compare_pipelines import compare_pipelines
from flows.comparison_requests import ComparisonRequest
from tasks.common.errors import ParameterError
from tests.support.builders import Trained


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, r"^inputs: missing; expected files that both versions score, or outputs"),
        ({"inputs": ["a.csv"], "outputs": ["a", "b"]}, r"^outputs: beside inputs; expected one"),
        (
            {"outputs": ["a", "./a"]},
            r"^outputs: a \./a; expected two folders, that of the champion first$",
        ),
        ({"outputs": ["a", "b", "a"]}, r"^outputs: a b a; expected two folders"),
        ({"outputs": ["a", "b"]}, r"^outputs: /.*/a has no records; expected the output folder"),
        ({"outputs": ["a", "b"], "output_dir": "c"}, r"^output_dir: 'c' beside outputs, of wh"),
        ({"inputs": ["a.csv"], "champion": "no such!"}, r"^champion: 'no such!'; expected"),
        ({"inputs": ["a.csv"], "challenger": "no such!"}, r"^challenger: 'no such!'; expected"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_starts(
    given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ParameterError, match=problem):
        ComparisonRequest(**given)


def test_without_a_challenger_nothing_is_compared(trained: Trained, tmp_path: Path) -> None:
    report = compare_pipelines([str(tmp_path / "reviews.csv")], promotion="if_better")
    assert report == {"alias": None, "reason": "no version is challenger"}


def test_a_version_is_not_compared_with_itself(two_versions: Path, tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.csv"
    reviews.write_text("text\na film\n")
    with pytest.raises(ParameterError, match=r"^challenger: '1' and champion 'champion' are both"):
        compare_pipelines([str(reviews)], challenger="1")
