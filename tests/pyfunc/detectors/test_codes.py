import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.detectors.codes import canonical


@pytest.mark.parametrize(
    ("code", "spelling"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("iw", "he"),
        ("jw", "jv"),
        ("nb", "no"),
        ("nn", "nn"),
        ("tl", "fil"),
        ("zh-latn", "zh-Latn"),
        ("ZH-LATN", "zh-Latn"),
        ("iw-latn", "he-Latn"),
        ("", ""),
    ],
)
def test_a_code_has_one_spelling(code: str, spelling: str) -> None:
    assert canonical(code) == spelling


@given(st.text("abeijlnortwz-AZ", max_size=12))
def test_the_spelling_of_a_spelling_is_the_same(code: str) -> None:
    assert canonical(canonical(code)) == canonical(code) == canonical(code.upper())
