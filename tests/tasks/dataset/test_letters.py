"""Texts that were read in a wrong encoding are noticed, and those in the right one are not."""

import pytest

from tasks.dataset.letters import describe_letters

GERMAN = ["Schöne Grüße aus Köln", "Die Rechnung für März fehlt", "Größe und Qualität enttäuschen"]
OTHERS = [
    "L’été dernier — c’était « très » beau…vraiment",
    "Отличный фильм",
    "很好的电影，真的",
    "great😀film",
    "It´s 20€",
    "col·lecció",
]


@pytest.mark.parametrize(
    ("written", "read", "asked"),
    [
        ("cp1252", "cp850", "cp1252"),
        ("utf-8", "cp1252", "utf-8"),
        ("utf-8", "latin-1", "utf-8"),
        ("cp850", "latin-1", "cp850"),
        ("cp1252", "mac_roman", "cp1252"),
    ],
)
def test_a_wrong_encoding_is_noticed_and_the_right_one_named(
    written: str, read: str, asked: str
) -> None:
    texts = [text.encode(written).decode(read) for text in GERMAN]
    warning = describe_letters(texts, read).warning
    assert "in another encoding than " + read in warning
    assert warning.partition("--encoding ")[2].split(" or ")[0] == asked


@pytest.mark.parametrize("texts", [GERMAN, OTHERS, ["plain words"], []])
def test_the_right_encoding_gives_no_warning(texts: list[str]) -> None:
    assert not describe_letters(texts, "utf-8").warning


def test_the_most_frequent_letters_and_words_with_them_are_shown() -> None:
    found = describe_letters(GERMAN, "cp1252")
    assert found.frequent == {"ö": 3, "ä": 3, "ü": 2, "ß": 2}
    assert found.words == ("Schöne", "Grüße", "Köln")
