"""The language of a text, by gcld3."""

import re

import gcld3

from .contract import Language

UNDETERMINED = Language(code="und", reliable=False, probability=0.0)

# What gcld3 reads of a text; more changes no answer and costs 60 µs per 1,000 bytes.
MAX_BYTES = 1_000

# gcld3 stops reading at control characters and noncharacters, which `\x96` and the like, left
# by a wrong decoding, bring into real reviews. Found by asking it about every code point.
_STOPS = re.compile(
    "[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
    + "]"
)


class LanguageDetector:
    """Detects languages with gcld3's packaged network."""

    def __init__(self) -> None:
        self._network = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=MAX_BYTES)
        # What it says of no text at all, and of one that it finds nothing to read in.
        self._nothing = self._find("")

    def detect(self, text: str) -> Language:
        """Return the language of `text`; `und` if it has no letter or just repeats itself.

        gcld3 itself calls these reliable Japanese.

        Args:
            text: Any text that UTF-8 can encode.
        """
        if not any(character.isalpha() for character in text):
            return UNDETERMINED
        # Printable text has none of them, and telling that takes a fiftieth of the time.
        language = self._find(text if text.isprintable() else _STOPS.sub(" ", text))
        return UNDETERMINED if language == self._nothing else language

    def _find(self, text: str) -> Language:
        result = self._network.FindLanguage(text)
        return Language(result.language, result.is_reliable, result.probability)
