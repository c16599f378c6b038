import pytest

from pyfunc.detectors.detector import UNDETERMINED
from pyfunc.detectors.selection import open_detector

DETECTOR = open_detector("gcld3")

SENTENCES = {
    "en": "This is a long and entirely English sentence about a film that I liked very much.",
    "fr": "Ceci est une phrase française au sujet d'un film que j'ai beaucoup aimé.",
    "ru": "Это совершенно русское предложение о фильме, который мне очень понравился.",
    "zh": "这是一部很好看的电影，我和我的朋友都非常喜欢它的故事。",
    "ja": "これはとても面白い映画で、私も友達も大好きです。",
    "he": "זה סרט מצוין שאהבתי מאוד, ואני ממליץ עליו לכולם.",
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
