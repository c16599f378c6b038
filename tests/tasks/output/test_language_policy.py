import pytest

from pyfunc.contract import Language
from pyfunc.language import UNDETERMINED, LanguageDetector
from tasks.common.errors import ParameterError
from tasks.output.language_policy import CODES, LanguagePolicy

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
def test_row_is_foreign_if_gcld3_is_sure_of_another_language(
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


@pytest.mark.parametrize("code", ["english", "EN", "he", "xx", ""])
def test_code_that_gcld3_never_reports_is_refused(code: str) -> None:
    with pytest.raises(ParameterError, match=rf"languages: \['{code}'\]; expected codes as gcld3"):
        LanguagePolicy(languages=("en", code))


def test_codes_are_those_that_gcld3_reports() -> None:
    detector = LanguageDetector()
    texts = {
        "en": "This film is a marvel, and I recommend it to everybody I know",
        "iw": "הסרט הזה הוא יצירת מופת ואני ממליץ עליו לכל החברים שלי",
        "zh": "这部电影非常好看，我推荐给所有的朋友",
        "ru": "Этот фильм просто чудо, и я советую его всем моим друзьям",
        "no": "Denne filmen er et vidunder, og jeg anbefaler den til alle vennene mine",
    }
    for code, text in texts.items():
        assert detector.detect(text).code == code
        assert code in CODES
    assert len(CODES) == 107
