"""The language policy: score, flag or reject rows in languages a model is not meant for."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import field_validator, model_validator

from pyfunc.contract import Language
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, Probability, about

# What gcld3 3.0.13 can report: https://github.com/google/cld3#supported-languages
_CODES = (
    "af am ar bg bg-Latn bn bs ca ceb co cs cy da de el el-Latn en eo es et eu fa fi fil fr "
    "fy ga gd gl gu ha haw hi hi-Latn hmn hr ht hu hy id ig is it iw ja ja-Latn jv ka kk km "
    "kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my ne nl no ny pa pl ps pt ro ru "
    "ru-Latn sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi xh yi yo zh "
    "zh-Latn zu"
)
CODES = frozenset(_CODES.split())

PolicyName = Annotated[
    Literal["score", "flag", "reject"],
    about(
        "What becomes of rows in none of the languages: score them like others, flag them in "
        "a column language_flagged, or reject them."
    ),
]
Languages = Annotated[
    Sequence[str], about("The languages that the model is meant for, as gcld3 reports them.")
]
LanguageThreshold = Annotated[
    Probability, about("Least probability at which a detected language is believed.")
]


class LanguagePolicy(FrozenModel):
    """How rows in a language that the model is not meant for are treated.

    A row is foreign if its detected language is none of `languages`, with a probability of at
    least `threshold`. A row of undetermined language is not foreign. Rows that are rejected are
    not predicted.
    """

    policy: PolicyName = "score"
    languages: Languages = ()
    threshold: LanguageThreshold = 0.7

    @field_validator("languages")
    @classmethod
    def _sort_languages(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        # Policies that differ in the order alone are equal.
        return tuple(sorted(set(languages)))

    @model_validator(mode="after")
    def _check_languages(self) -> "LanguagePolicy":
        unknown = sorted(set(self.languages) - CODES)
        if unknown:
            raise ParameterError(
                f"languages: {unknown}; expected codes as gcld3 reports them, of: {_CODES}"
            )
        if self.policy != "score" and not self.languages:
            raise ParameterError(
                f"languages: none given; language_policy {self.policy} expects at least one"
            )
        return self

    def describe(self) -> str:
        """Return in a sentence what becomes of rows."""
        if self.policy == "score":
            return "Rows in every language are scored."
        done = {"flag": "scored, and flagged", "reject": "rejected"}[self.policy]
        return (
            f"Rows in other languages than {', '.join(self.languages)} are {done}, where the "
            f"language has a probability of {self.threshold:g} or more."
        )

    def is_foreign(self, language: Language) -> bool:
        """Return whether the model is not meant for a row of this language."""
        sure = language.code != "und" and language.probability >= self.threshold
        return bool(self.languages) and sure and language.code not in self.languages

    def rejection_reason(self, language: Language) -> str:
        """Return why a row of this language is rejected, or an empty string."""
        if self.policy != "reject" or not self.is_foreign(language):
            return ""
        return f"{language.code}; expected {' or '.join(self.languages)}"
