import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.language import UNDETERMINED, LanguageDetector

DETECTOR = LanguageDetector()

SENTENCES = {
    "en": "This is a long and entirely English sentence about a film that I liked very much.",
    "fr": "Ceci est une phrase française au sujet d'un film que j'ai beaucoup aimé.",
    "ru": "Это совершенно русское предложение о фильме, который мне очень понравился.",
    "zh": "这是一部很好看的电影，我和我的朋友都非常喜欢它的故事。",
    "ja": "これはとても面白い映画で、私も友達も大好きです。",
    "iw": "זה סרט מצוין שאהבתי מאוד, ואני ממליץ עליו לכולם.",
}

STOPS = ["\0", "\x01", "\x0b", "\x1f", "\x7f", "\x80", "\x85", "\x96", "\ufdd0", "\ufffe"]
STOPS += ["\U0001ffff", "\U0010ffff"]


@pytest.mark.parametrize(("code", "sentence"), SENTENCES.items(), ids=list(SENTENCES))
def test_a_sentence_is_detected_reliably_and_probably(code: str, sentence: str) -> None:
    language = DETECTOR.detect(sentence)
    assert (language.code, language.reliable) == (code, True)
    assert 0.7 < language.probability <= 1


def test_two_english_words_are_english_but_not_reliably() -> None:
    language = DETECTOR.detect("Great movie")
    assert (language.code, language.reliable) == ("en", False)


@pytest.mark.parametrize(
    "text",
    ["", " ", "7", " 12 34\n", "!?…", "😀👍🏽", "\u0301\u0301", "\u200b\ufeff", "\0", "½ ² ⅷ"],
)
def test_a_text_without_letters_has_no_language(text: str) -> None:
    assert DETECTOR.detect(text) == UNDETERMINED


@given(st.text(st.characters(codec="utf-8", exclude_categories=["L"])))
def test_no_text_without_letters_has_a_language(text: str) -> None:
    assert DETECTOR.detect(text).code == "und"


@pytest.mark.parametrize("text", ["a" * 100_000, "很好看的电影" * 100, "ha" * 300])
def test_a_text_in_which_gcld3_reads_nothing_has_no_language(text: str) -> None:
    assert DETECTOR.detect(text) == UNDETERMINED


@pytest.mark.parametrize("stop", STOPS, ids=[f"U+{ord(stop):04X}" for stop in STOPS])
def test_a_character_that_gcld3_stops_at_does_not_hide_the_text_behind_it(stop: str) -> None:
    for code, sentence in SENTENCES.items():
        assert DETECTOR.detect(stop + sentence).code == code
        assert DETECTOR.detect(f"C'est{stop} {SENTENCES['en']}").code == "en"


def test_no_character_hides_the_text_behind_it() -> None:
    ends = [plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)]
    hiding = [
        f"U+{point:04X}"
        for point in [*range(0xD800), *range(0xE000, 0x10000), *ends]
        if DETECTOR.detect(f"{chr(point)}An English text.") == UNDETERMINED
    ]
    assert hiding == []


@given(st.text())
def test_every_text_gets_a_code_a_flag_and_a_probability(text: str) -> None:
    language = DETECTOR.detect(text)
    assert language.code
    assert language.reliable in (True, False)
    assert 0 <= language.probability <= 1


def test_a_detector_repeats_itself() -> None:
    first = {code: DETECTOR.detect(sentence) for code, sentence in SENTENCES.items()}
    again = {code: DETECTOR.detect(SENTENCES[code]) for code in reversed(SENTENCES)}
    other = {code: LanguageDetector().detect(text) for code, text in SENTENCES.items()}
    assert first == again == other
