"""gcld3: Google's Compact Language Detector 3, a network on character n-grams, in C++."""

import re
from pathlib import Path
from typing import ClassVar

from ..contract import Language
from .codes import canonical
from .detector import UNDETERMINED, has_letters

# What gcld3 3.0.13 can report: kLanguageNames of
# https://github.com/google/cld3/blob/master/src/task_context_params.cc
_CODES = (
    "af am ar az be bg bg-Latn bn bs ca ceb co cs cy da de el el-Latn en eo es et eu fa fi fil fr "
    "fy ga gd gl gu ha haw hi hi-Latn hmn hr ht hu hy id ig is it iw ja ja-Latn jv ka kk km "
    "kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my ne nl no ny pa pl ps pt ro ru "
    "ru-Latn sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi xh yi yo zh "
    "zh-Latn zu"
)

# Bytes of a text that gcld3 reads; more change no answer and cost 60 µs per 1,000 bytes.
MAX_BYTES = 1_000

# gcld3 stops at control characters and noncharacters; a wrong decoding leaves some, as `\x96`, in
# real reviews. Found by a test of every code point.
_STOPS = re.compile(
    "[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
    + "]"
)


class Gcld3Detector:
    """Detects languages with the network in the library."""

    libraries: ClassVar[tuple[str, ...]] = ("gcld3",)
    codes: ClassVar[frozenset[str]] = frozenset(map(canonical, _CODES.split()))

    def __init__(self, folder: Path | None) -> None:
        import gcld3

        self._network = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=MAX_BYTES)
        # The result for an empty text, and for one without readable characters.
        self._unreadable = self._identify("")

    @staticmethod
    def files() -> tuple[Path, ...]:
        """Return none: the library has its network compiled in."""
        return ()

    def detect(self, text: str) -> Language:
        """Return the language of `text`; `und` if it has no letter or is mere repetition.

        gcld3 reports reliable Japanese for those.

        Args:
            text: A text that UTF-8 can encode.
        """
        if not has_letters(text):
            return UNDETERMINED
        # `isprintable` takes a fiftieth of the time of `sub`, and excludes all stops.
        language = self._identify(text if text.isprintable() else _STOPS.sub(" ", text))
        return UNDETERMINED if language == self._unreadable else language

    def _identify(self, text: str) -> Language:
        result = self._network.FindLanguage(text)
        return Language(canonical(result.language), result.is_reliable, result.probability)
