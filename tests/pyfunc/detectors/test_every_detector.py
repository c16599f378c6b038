"""What holds for each language detector; a new one is tested here as soon as it has its entry."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.detectors.codes import canonical
from pyfunc.detectors.detector import RELIABLE_PROBABILITY, UNDETERMINED
from pyfunc.detectors.selection import DEFAULT_DETECTOR, DETECTORS, DetectorName, open_detector
from pyfunc.errors import UnsupportedError
from tasks.common.settings import REPOSITORY

OPENED = {name: open_detector(name) for name in DETECTORS}

BCP_47 = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?")

# Each is the original of its language, not a translation of another.
SENTENCES = {
    "en": "This is a long and entirely English sentence about a film that I liked very much.",
    "fr": "Ceci est une phrase française au sujet d'un film que j'ai beaucoup aimé.",
    "ru": "Это совершенно русское предложение о фильме, который мне очень понравился.",
    "zh": "这是一部很好看的电影，我和我的朋友都非常喜欢它的故事。",
    "ja": "これはとても面白い映画で、私も友達も大好きです。",
    "he": "זה סרט מצוין שאהבתי מאוד, ואני ממליץ עליו לכולם.",
    "jv": "Aku seneng banget nonton film iki karo kanca-kancaku ing omah wingi bengi.",
    "fil": "Gustong-gusto ko ang pelikulang ito at inirerekomenda ko ito sa lahat ng kaibigan ko.",
    "no": "Ikke alle trenger å like filmen, men jeg syntes at den var bra og ikke for lang.",
}

every_detector = pytest.mark.parametrize("name", DETECTORS)


def test_every_name_has_an_entry_and_one_is_the_default() -> None:
    assert set(DETECTORS) == set(get_args(DetectorName))
    assert open_detector().libraries == DETECTORS[DEFAULT_DETECTOR].libraries == ("gcld3",)


@every_detector
@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_detected_in_one_spelling(name: DetectorName, code: str) -> None:
    found = OPENED[name].detect(SENTENCES[code])
    assert found.code == code
    assert found.reliable == (found.probability >= RELIABLE_PROBABILITY)


@every_detector
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "7",
        " 12 34\n",
        "!?…",
        "😀👍🏽",
        "\u0301\u0301",
        "\u200b\ufeff",
        "\0",
        "½ ² ⅷ",
        "<3",
    ],
)
def test_a_text_without_letters_has_no_language(name: DetectorName, text: str) -> None:
    assert OPENED[name].detect(text) == UNDETERMINED


@every_detector
@given(st.text(st.characters(codec="utf-8", exclude_categories=["L"])))
def test_no_text_without_letters_has_a_language(name: DetectorName, text: str) -> None:
    assert OPENED[name].detect(text) == UNDETERMINED


@every_detector
@given(st.text() | st.text("ab \r\n\0<>/s{}%\\") | st.sampled_from([*SENTENCES.values()]))
def test_every_text_gets_a_code_a_flag_and_a_probability(name: DetectorName, text: str) -> None:
    found = OPENED[name].detect(text)
    assert found.code == "und" or found.code in DETECTORS[name].codes
    assert type(found.reliable) is bool
    assert type(found.probability) is float
    assert 0 <= found.probability <= 1


@every_detector
@pytest.mark.parametrize("joint", ["\n", "\r\n", "\t", "\x0b", "\x85", "\u2028", " </s> "])
def test_a_text_is_read_across_its_lines(name: DetectorName, joint: str) -> None:
    words = SENTENCES["en"].split()
    assert OPENED[name].detect(joint.join(words)).code == "en"
    assert OPENED[name].detect(joint + SENTENCES["en"]).code == "en"


@every_detector
def test_a_sentence_in_capitals_has_the_same_language(name: DetectorName) -> None:
    assert OPENED[name].detect(SENTENCES["en"].upper()).code == "en"
    assert OPENED[name].detect(SENTENCES["fr"].upper()).code == "fr"


@every_detector
def test_a_long_text_takes_no_longer_than_its_beginning(name: DetectorName) -> None:
    text = SENTENCES["fr"] + SENTENCES["en"] * 10_000
    assert OPENED[name].detect(text).code in ("fr", "en")
    assert OPENED[name].detect("a" * 1_000_000).code


@every_detector
def test_codes_are_modern_ones_of_bcp_47(name: DetectorName) -> None:
    codes = DETECTORS[name].codes
    assert [code for code in codes if not BCP_47.fullmatch(code) or canonical(code) != code] == []
    assert set(SENTENCES) <= codes
    assert "und" not in codes


@every_detector
def test_a_detector_repeats_itself_in_any_order_and_when_it_is_opened_again(
    name: DetectorName,
) -> None:
    first = {code: OPENED[name].detect(text) for code, text in SENTENCES.items()}
    again = {code: OPENED[name].detect(SENTENCES[code]) for code in reversed(SENTENCES)}
    other = {code: open_detector(name).detect(text) for code, text in SENTENCES.items()}
    assert first == again == other


@every_detector
def test_threads_share_a_detector(name: DetectorName) -> None:
    texts = [text[start:] for text in SENTENCES.values() for start in range(0, 40, 2)] * 5
    expected = [OPENED[name].detect(text) for text in texts]
    shared = open_detector(name)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(shared.detect, texts)) == expected


@every_detector
def test_an_opened_one_imports_its_own_library_alone(name: DetectorName) -> None:
    modules = {"gcld3": "gcld3", "py3langid": "py3langid", "fasttext": "fasttext_pybind"}
    script = f"""
import sys
from pyfunc.detectors.selection import open_detector
assert not {set(modules.values())!r} & sys.modules.keys()
open_detector({name!r})
print(*({set(modules.values())!r} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert (done.stdout.split(), done.stderr) == ([modules[name]], "")


@every_detector
def test_its_libraries_are_installed_distributions(name: DetectorName) -> None:
    assert all(version(library) for library in DETECTORS[name].libraries)


@every_detector
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    name: DetectorName, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = DETECTORS[name].libraries[0]
    for module in ("gcld3", "py3langid.langid", "fasttext"):
        monkeypatch.setitem(sys.modules, module, None)
    expected = rf"^the detector {name} cannot be imported \(.*\); pip install {library}"
    with pytest.raises(UnsupportedError, match=expected):
        open_detector(name)


@every_detector
def test_copies_of_its_files_are_all_that_it_reads(name: DetectorName, tmp_path: Path) -> None:
    for file in DETECTORS[name].files():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    copied = open_detector(name, tmp_path)
    assert [copied.detect(text) for text in SENTENCES.values()] == [
        OPENED[name].detect(text) for text in SENTENCES.values()
    ]
