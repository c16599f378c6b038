"""Which languages a model is meant for, and what becomes of rows in another one."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pyfunc.contract import Language
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import Probability

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
    Field(
        description="What becomes of rows in none of the languages: score them like others, flag "
        "them in a column language_flagged, or reject them."
    ),
]
Languages = Annotated[
    Sequence[str],
    Field(description="The languages that the model is meant for, as gcld3 reports them."),
]
LanguageThreshold = Annotated[
    Probability, Field(description="Least probability at which a detected language is believed.")
]


class LanguagePolicy(BaseModel):
    """What becomes of rows in a language that the model is not meant for.

    A row is taken for foreign if its language is none of `languages` and gcld3 is sure of it: its
    probability is at least `threshold`. Where no language can be told, a row is not foreign.
    Rows that are rejected are not predicted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicyName = "score"
    languages: Languages = ()
    threshold: LanguageThreshold = 0.7

    @field_validator("languages")
    @classmethod
    def _in_one_order(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        """Sort them, so that another order is no other policy."""
        return tuple(sorted(set(languages)))

    @model_validator(mode="after")
    def _is_complete(self) -> "LanguagePolicy":
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

    def is_foreign(self, language: Language) -> bool:
        """Return whether a row of this language is not what the model is meant for."""
        sure = language.code != "und" and language.probability >= self.threshold
        return bool(self.languages) and sure and language.code not in self.languages

    def refuse(self, language: Language) -> str:
        """Return why a row of this language is refused, or an empty string."""
        if self.policy != "reject" or not self.is_foreign(language):
            return ""
        return f"{language.code}; expected {' or '.join(self.languages)}"
