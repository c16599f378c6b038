import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.text import escape_markdown, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;owned\x07\x1b[2Jb.csv", "a\\x1b]0;owned\\x07\\x1b[2Jb.csv"),
        ("a\rb\x08c\x7fd\x9b2J", "a\\x0db\\x08c\\x7fd\\x9b2J"),
        ("\udce9t\udce9.csv", "\\xe9t\\xe9.csv"),  # Latin-1, as Python reads it
        ("two\nlines\tof Größe, 很好 🎬", "two\nlines\tof Größe, 很好 🎬"),
    ],
)
def test_control_characters_are_printed_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_text_of_others_makes_no_link_image_or_markup() -> None:
    name = "![](http://evil.example/seen) [Report](http://evil.example) <b> &#47; `x` www.evil"
    shown = escape_markdown(name)
    assert not re.search(r"(?<!\\)[\[\]<>&`*]", shown)
    assert "http://" not in shown
    assert "www\\.evil" in shown
    assert "\n" not in escape_markdown("a\n# b")
    plain = "/in/part_01.csv: row 2 (line 3): no text!"
    assert escape_markdown(plain) == plain


@given(st.text())
def test_what_is_printed_commands_no_terminal_and_can_be_encoded(text: str) -> None:
    name = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    shown = printable(name).replace("\n", "").replace("\t", "")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    shown.encode()
