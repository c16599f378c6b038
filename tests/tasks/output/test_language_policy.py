import pytest

from pyfunc.contract import Language
from pyfunc.detectors.detector import UNDETERMINED
from pyfunc.detectors.selection import DETECTORS
from tasks.common.errors import ParameterError
from tasks.output.language_policy import LanguagePolicy

SURE, UNSURE = 0.7, 0.69


def language(code: str, probability: float) -> Language:
    return Language(code=code, reliable=probability >= SURE, probability=probability)


@pytest.mark.parametrize(
    ("found", "foreign"),
    [
        (language("fr", 1.0), True),
        (language("fr", SURE), True),
        (language("fr", UNSURE), False),
        (language("en", 1.0), False),
        (language("de", 1.0), False),
        (UNDETERMINED, False),
    ],
)
def test_row_is_foreign_if_the_detector_is_sure_of_another_language(
    found: Language, foreign: bool
) -> None:
    policy = LanguagePolicy(policy="reject", languages=("en", "de"))
    assert policy.is_foreign(found) == foreign
    assert policy.rejection_reason(found) == ("fr; expected de or en" if foreign else "")


@pytest.mark.parametrize("policy", ["score", "flag"])
def test_only_reject_refuses(policy: str) -> None:
    lenient = LanguagePolicy.model_validate({"policy": policy, "languages": ("en",)})
    assert lenient.is_foreign(language("fr", 1.0))
    assert lenient.rejection_reason(language("fr", 1.0)) == ""


def test_without_languages_nothing_is_foreign() -> None:
    assert not LanguagePolicy().is_foreign(language("fr", 1.0))


def test_threshold_is_a_parameter_and_und_is_never_foreign() -> None:
    strict = LanguagePolicy(policy="reject", languages=("en",), threshold=0.0)
    assert strict.rejection_reason(language("fr", 0.01))
    assert not strict.rejection_reason(UNDETERMINED)


@pytest.mark.parametrize("policy", ["flag", "reject"])
def test_policy_without_languages_is_refused(policy: str) -> None:
    with pytest.raises(ParameterError, match=f"languages: none given; language_policy {policy}"):
        LanguagePolicy.model_validate({"policy": policy})


@pytest.mark.parametrize("code", ["english", "en_GB", "xx", ""])
def test_code_that_no_detector_reports_is_refused(code: str) -> None:
    with pytest.raises(
        ParameterError, match=rf"languages: \['{code}'\]; expected codes that a detector"
    ):
        LanguagePolicy(languages=("en", code))


@pytest.mark.parametrize(
    ("given", "spelling"),
    [("iw", "he"), ("he", "he"), ("EN", "en"), ("zh-latn", "zh-Latn"), ("nb", "no"), ("tl", "fil")],
)
def test_older_spellings_of_a_code_mean_the_same(given: str, spelling: str) -> None:
    policy = LanguagePolicy(policy="reject", languages=(given,))
    assert policy == LanguagePolicy(policy="reject", languages=(spelling, given))
    assert policy.languages == (spelling,)
    # Versions built before report the older spelling.
    assert not policy.is_foreign(language(given, 1.0))
    assert not policy.is_foreign(language(spelling, 1.0))


def test_every_language_of_every_detector_can_be_listed() -> None:
    for detector in DETECTORS.values():
        assert set(LanguagePolicy(languages=tuple(detector.codes)).languages) == detector.codes
    # gcld3 reports them, though the table in its README has not got them.
    assert LanguagePolicy(languages=("az", "be")).languages == ("az", "be")
