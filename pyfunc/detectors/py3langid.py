"""py3langid: naive Bayes on byte n-grams, in Python and numpy."""

from pathlib import Path
from typing import ClassVar

from ..contract import Language
from .codes import canonical
from .detector import UNDETERMINED, has_letters, language_of

# What py3langid 0.4.0 can report; its `zxx` is no language.
_CODES = (
    "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu "
    "ext fa fi fo fr fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is "
    "it ja jv ka kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt "
    "my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv "
    "sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu"
)

# Characters of a text that it reads; each takes as long as the one before.
MAX_CHARACTERS = 1_000

# A text without a known n-gram gets equal probabilities; with 142 of them, one that has two names
# gets 0.014.
_LEAST_PROBABILITY = 0.02


class Py3langidDetector:
    """Detects languages with the model in the library."""

    libraries: ClassVar[tuple[str, ...]] = ("py3langid", "numpy")
    codes: ClassVar[frozenset[str]] = frozenset(map(canonical, _CODES.split()))

    def __init__(self, folder: Path | None) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(
            MODEL_FILE, norm_probs=True, min_confidence=_LEAST_PROBABILITY
        )

    @staticmethod
    def files() -> tuple[Path, ...]:
        """Return none: the library has its model beside its code."""
        return ()

    def detect(self, text: str) -> Language:
        """Return the language of `text`; `und` if it has no letter or no known n-gram.

        Args:
            text: A text that UTF-8 can encode.
        """
        if not has_letters(text):
            return UNDETERMINED
        code, probability = self._identifier.classify(" ".join(text.split())[:MAX_CHARACTERS])
        return UNDETERMINED if code in ("und", "zxx") else language_of(canonical(code), probability)
