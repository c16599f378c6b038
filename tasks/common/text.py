"""Text of people and for people: names of columns, Markdown, text that a terminal may print."""

import hashlib
import re
from collections.abc import Iterable, Sequence

# C0 and C1 control characters, which terminals obey, and the bytes of names that are not UTF-8.
_UNPRINTABLE = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
} | {code: f"\\x{code - 0xDC00:02x}" for code in range(0xDC80, 0xDD00)}


def printable(text: str) -> str:
    """Return a text for a terminal, with escapes in place of control characters.

    Names of files and cells of tables come from others.
    """
    return text.translate(_UNPRINTABLE)


_BAR = re.compile(r"(?<!\\)\|")
# Code, emphasis, links, images, HTML and bare addresses; names such as `part_01` stay readable.
_MARKDOWN = re.compile(r"([\\`*\[\]<>&|~]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.)")


def escape_markdown(text: str) -> str:
    """Return a text of others as Markdown that shows it: no link, image or markup, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False
) -> str:
    """Return a Markdown table.

    Args:
        header: Names of the columns; they may be empty.
        rows: The cells; a `|` in one is escaped.
        numbers: Whether all columns but the first are aligned to the right.
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    # Not twice, as in a cell of `escape_markdown`.
    lines = [[_BAR.sub(r"\|", cell) for cell in line] for line in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def columns_called(names: Iterable[str], wanted: str) -> list[str]:
    """Return the columns that a name means, in their order.

    It is the one that is written so, else those that differ in case and outer blanks alone.
    """
    names = list(names)
    if wanted in names:
        return [wanted]
    return [name for name in names if name.strip().casefold() == wanted.strip().casefold()]


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal, as any other program computes it."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
