"""The letters beyond ASCII of texts, and whether they were read in a wrong encoding.

A wrong encoding that has every byte of a file raises no error: it shows as signs within words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from tasks.common.parameter_types import FrozenModel

_SHOWN_LETTERS = 8
_SHOWN_WORDS = 3
_MOST_TEXTS = 20_000
# Fewer may be slips of the people who wrote the texts.
_SUSPICIOUS_SHARE = 0.05

_WORD = re.compile(r"\S+")
_BEYOND = re.compile(r"[^\x00-\x7f]")
_WITHIN = re.compile(r"(?<=[^\W\d_])[^\x00-\x7f](?=[^\W\d_])|[\x80-\x9f\ufffd\u2500-\u259f]")
# Letters, marks, digits, dashes, blanks, invisible signs.
_OF_WORDS = ("L", "M", "Nd", "Pd", "Z", "Cf")
# Quotation marks and accents that serve as apostrophes, the Catalan middle dot, the ellipsis.
_APOSTROPHES = "\u2019\u2018\u00b4\u02bc\u00b7\u2026"
_FIRST_PICTURE = "\u2600"  # and emoji, which people write without blanks

# Those of Windows, DOS and older Macs in Western Europe, the most likely first.
_ENCODINGS = ("utf-8", "cp1252", "cp850", "mac_roman")


class Letters(FrozenModel):
    """What texts have beyond ASCII.

    Attributes:
        frequent: The most frequent letters, with the number of each.
        words: Some words with them.
        warning: Why the texts were probably read in a wrong encoding; empty if nothing shows it.
    """

    frequent: dict[str, int]
    words: tuple[str, ...]
    warning: str = ""


def describe_letters(texts: Iterable[str], encoding: str) -> Letters:
    """Return what the first texts have beyond ASCII.

    Args:
        texts: As they were read.
        encoding: Python's name of the encoding that they were read in.
    """
    words = Counter(
        word
        for text, _ in zip(texts, range(_MOST_TEXTS), strict=False)
        for word in _WORD.findall(text)
        if not word.isascii()
    )
    letters: Counter[str] = Counter()
    for word, count in words.items():
        for letter in _BEYOND.findall(word):
            letters[letter] += count
    return Letters(
        frequent=dict(letters.most_common(_SHOWN_LETTERS)),
        words=tuple(word for word, _ in words.most_common(_SHOWN_WORDS)),
        warning=_warning(words, encoding),
    )


def _warning(words: Counter[str], encoding: str) -> str:
    odd = [word for word in words if _is_odd(word)]
    if sum(words[word] for word in odd) <= _SUSPICIOUS_SHARE * words.total():
        return ""
    fitting = [
        other for other in _ENCODINGS if other != encoding and _reads_letters(odd, encoding, other)
    ]
    advice = f"; try --encoding {' or '.join(fitting)}" if fitting else ""
    return (
        f"{len(odd)} of {len(words)} words beyond ASCII have a sign in place of a letter, such as "
        f"{odd[0]!r}: the file is probably in another encoding than {encoding}{advice}"
    )


def _is_odd(word: str) -> bool:
    return any(
        not unicodedata.category(sign).startswith(_OF_WORDS)
        and sign not in _APOSTROPHES
        and (sign < _FIRST_PICTURE or sign == "\ufffd")
        for sign in _WITHIN.findall(word)
    )


def _reads_letters(words: Iterable[str], encoding: str, other: str) -> bool:
    """Return whether the bytes of words are words in another encoding."""
    try:
        read = [word.encode(encoding).decode(other) for word in words]
    except UnicodeError:
        return False
    return not any(map(_is_odd, read))
