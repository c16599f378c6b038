"""Language detection with gcld3."""

import re

import gcld3

from .contract import Language

UNDETERMINED = Language(code="und", reliable=False, probability=0.0)

# Bytes of a text that gcld3 reads; more change no answer and cost 60 µs per 1,000 bytes.
MAX_BYTES = 1_000

# gcld3 stops at control characters and noncharacters; a wrong decoding leaves some, as `\x96`, in
# real reviews. Found by a test of every code point.
_STOPS = re.compile(
    "[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
    + "]"
)


class LanguageDetector:
    """Detects languages with gcld3's packaged network."""

    def __init__(self) -> None:
        self._network = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=MAX_BYTES)
        # The result for an empty text, and for one without readable characters.
        self._unreadable = self._identify("")

    def detect(self, text: str) -> Language:
        """Return the language of `text`; `und` if it has no letter or is mere repetition.

        gcld3 reports reliable Japanese for those.

        Args:
            text: A text that UTF-8 can encode.
        """
        if not any(character.isalpha() for character in text):
            return UNDETERMINED
        # `isprintable` takes a fiftieth of the time of `sub`, and excludes all stops.
        language = self._identify(text if text.isprintable() else _STOPS.sub(" ", text))
        return UNDETERMINED if language == self._unreadable else language

    def _identify(self, text: str) -> Language:
        result = self._network.FindLanguage(text)
        return Language(result.language, result.is_reliable, result.probability)
