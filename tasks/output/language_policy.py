"""The language policy: score, flag or reject rows in languages a model is not meant for."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import field_validator, model_validator

from pyfunc.contract import Language
from pyfunc.detectors.codes import canonical
from pyfunc.detectors.selection import DETECTORS
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, Probability, about

# What a detector may report.
CODES = frozenset[str]().union(*(detector.codes for detector in DETECTORS.values()))

PolicyName = Annotated[
    Literal["score", "flag", "reject"],
    about(
        "What becomes of rows in none of the languages: score them like others, flag them in "
        "a column language_flagged, or reject them."
    ),
]
Languages = Annotated[
    Sequence[str],
    about("The languages that the model is meant for, as codes of BCP-47 such as en or zh-Latn."),
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
        if unknown := sorted(code for code in set(languages) if canonical(code) not in CODES):
            raise ParameterError(
                f"languages: {unknown}; expected codes that a detector reports, of: "
                f"{' '.join(sorted(CODES))}"
            )
        # Policies that differ in the order or the spelling alone are equal.
        return tuple(sorted(set(map(canonical, languages))))

    @model_validator(mode="after")
    def _check_languages(self) -> "LanguagePolicy":
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
        # Versions built before have the spelling of gcld3.
        return bool(self.languages) and sure and canonical(language.code) not in self.languages

    def rejection_reason(self, language: Language) -> str:
        """Return why a row of this language is rejected, or an empty string."""
        if self.policy != "reject" or not self.is_foreign(language):
            return ""
        return f"{language.code}; expected {' or '.join(self.languages)}"
