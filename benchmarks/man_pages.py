"""Texts in known languages: the translated manual pages that Debian installs."""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

ENGLISH = "en"

# Folders of pages in one script; those of `zh_CN` and `zh_TW` are both `zh`.
_FOLDER = re.compile(r"([a-z]{2})(?:_[A-Z]{2})?")

_LITERAL = re.compile(r"\.(nf|EX|in \+)")
_LITERAL_END = re.compile(r"\.(fi|EE|in)\b")
_BOLD = re.compile(r"\\fB.*?\\f[PRI1]|\\fB\S*")  # names of commands and options
_ESCAPE = re.compile(r"\\(?:f\(..|f\[.*?\]|f.|\[.*?\]|\(..|s[-+]?\d+|.)")

_LETTER_ESCAPE = re.compile(r"\\\[(?:u[0-9A-F]{4}|[^a-z\]]\w)\]|\\\((?:[:'`^,~/]\w|ss)|\\\*[:'`^]")

# Words of letters, with what may stand around and between them: no paths, options and addresses.
_WORD = re.compile(r"[^\w\s/<@=-]*[^\W\d_]+(?:['\u2019-][^\W\d_]+)*[^\w\s/<@=-]*")

# Pages in part have paragraphs in English, which have these many words in a row in common with it.
_RUN = 3
_MOST_ENGLISH = 0.2

_SPACELESS = ("ja", "zh")
_LATIN = re.compile(r"[A-Za-z -]+")  # in these: names and abbreviations


def read_languages(folder: Path) -> dict[str, list[str]]:
    """Return the prose of manual pages by the code of their language, a string a page.

    Paragraphs that a translated page has in English are left out, and pages without an English
    original, in which they could not be found.

    Args:
        folder: Such as `/usr/share/man`, with `man1/` and, translated, `de/man1/`.
    """
    texts: dict[str, list[str]] = {}
    for translated in sorted(folder.glob("*")):
        found = _FOLDER.fullmatch(translated.name)
        if not found or not translated.is_dir():
            continue
        for page in sorted(translated.glob("man*/*.gz")):
            original = folder / page.relative_to(translated)
            if original.exists():
                english = _paragraphs(original)
                texts.setdefault(ENGLISH, []).append(" ".join(english))
                texts.setdefault(found[1], []).append(_translated(_paragraphs(page), english))
    return {code: sorted({page for page in pages if page}) for code, pages in texts.items()}


def cut_texts(pages: Sequence[str], code: str, *, characters: int, most: int) -> list[str]:
    """Return texts of about as many characters, cut between words at random places, always alike.

    Args:
        pages: The prose of each page.
        code: Their language; some are written without spaces.
        characters: At most so many, at least three quarters of them.
        most: Number of texts at most; none overlaps another.
    """
    cuts = [text for page in pages for text in _cut_page(page, code, characters)]
    distinct = sorted(set(cuts))
    Random(characters).shuffle(distinct)
    return distinct[:most]


def _cut_page(page: str, code: str, characters: int) -> Iterator[str]:
    if code in _SPACELESS:
        page = _LATIN.sub("", page)
        for start in range(0, len(page) - characters + 1, characters):
            yield page[start : start + characters]
        return
    text = ""
    for word in page.split():
        if len(text) + 1 + len(word) > characters:
            if 0.75 * characters <= len(text) <= characters:
                yield text
            text = ""
        text = f"{text} {word}".strip()


def _translated(paragraphs: list[str], english: list[str]) -> str:
    known = {run for paragraph in english for run in _runs(paragraph)}
    return " ".join(p for p in paragraphs if not _is_english(p, known))


def _is_english(paragraph: str, known: set[tuple[str, ...]]) -> bool:
    runs = _runs(paragraph)
    return sum(run in known for run in runs) > _MOST_ENGLISH * len(runs)


def _runs(paragraph: str) -> list[tuple[str, ...]]:
    words = paragraph.lower().split()
    return [tuple(words[start : start + _RUN]) for start in range(max(1, len(words) - _RUN + 1))]


def _paragraphs(page: Path) -> list[str]:
    """Return the prose of a page: no macros, examples, commands and options."""
    try:
        source = gzip.decompress(page.read_bytes()).decode()
    except (OSError, UnicodeDecodeError):  # a link to a page that is not there, an old encoding
        return []
    if _LETTER_ESCAPE.search(source):  # its words would be cut
        return []
    paragraphs: list[str] = []
    lines: list[str] = []
    is_literal = False
    for line in [*source.splitlines(), ""]:
        if line.startswith((".", "'")) or not line.strip():
            is_literal = bool(_LITERAL.match(line)) or (is_literal and not _LITERAL_END.match(line))
            words = [word for word in " ".join(lines).split() if _WORD.fullmatch(word)]
            if len(words) >= _RUN:
                paragraphs.append(" ".join(words))
            lines = []
        elif not is_literal:
            lines.append(_ESCAPE.sub(" ", _BOLD.sub(" ", line.replace("\\-", "-"))))
    return paragraphs
