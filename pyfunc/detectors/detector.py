"""What a language detector is, and what all of them share."""

from pathlib import Path
from typing import ClassVar, Protocol

from ..contract import Language

UNDETERMINED = Language(code="und", reliable=False, probability=0.0)

# gcld3's own limit of `is_reliable`, for those that report no such bit:
# https://github.com/google/cld3/blob/master/src/nnet_language_identifier.h
RELIABLE_PROBABILITY = 0.7


class LanguageDetector(Protocol):
    """Detects languages; threads may share one. Equal texts get equal results.

    Its library is imported when it is opened: a model needs the one that it uses alone.

    Attributes:
        libraries: Distributions that it runs on. The model requires them, and another version of
            one is another fingerprint.
        codes: What it may report besides `und`, in the spelling of `codes.py`.
    """

    libraries: ClassVar[tuple[str, ...]]
    codes: ClassVar[frozenset[str]]

    def __init__(self, folder: Path | None) -> None:
        """Open it with the copies of its files in `folder`, or with the installed ones.

        Raises:
            ArtifactError: If a file is missing or damaged.
            ImportError: If its library is not installed.
        """

    @staticmethod
    def files() -> tuple[Path, ...]:
        """Return the installed files that an artifact needs copies of.

        Raises:
            UnsupportedError: If the package that has them is not installed.
        """

    def detect(self, text: str) -> Language:
        """Return the language of `text`; `und` if it has no letter or is not readable.

        Args:
            text: A text that UTF-8 can encode.
        """


def has_letters(text: str) -> bool:
    """Return whether a text has a letter; detectors guess a language of those without."""
    return any(character.isalpha() for character in text)


def language_of(code: str, probability: float) -> Language:
    """Return the result of a detector that reports a code and a probability alone."""
    # Sums of float32 exceed 1 by some 1e-5.
    probability = min(1.0, probability)
    return Language(code, probability >= RELIABLE_PROBABILITY, probability)
