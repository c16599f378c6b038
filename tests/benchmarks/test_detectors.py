"""Texts cut from manual pages, and what is measured on them."""

import gzip
import math
import sys
from pathlib import Path

import pytest

from benchmarks import detectors
from benchmarks.detectors import Found, main, measure, render
from benchmarks.man_pages import cut_texts, read_languages
from pyfunc.contract import Language
from pyfunc.detectors.selection import DETECTORS

ENGLISH = r"""
.TH LS 1
.SH NAME
ls \- list the contents of a directory
.SH OPTIONS
.TP
\fB\-a\fR, \fB\-\-all\fR
do not ignore entries that begin with a dot
.TP
.B \-h
Print a short usage message and exit.
.EX
this is an example of output
.EE
"""

GERMAN = r"""
.TH LS 1
.SH BEZEICHNUNG
ls \- den Inhalt eines \fIVerzeichnisses\fR auflisten
.SH OPTIONEN
.TP
\fB\-a\fR, \fB\-\-all\fR
Einträge nicht auslassen, die mit einem Punkt beginnen; siehe /etc/ls.conf und \fBdir\fR(1)
.TP
.B \-h
Print a short usage message and exit.
.EX
das ist ein Beispiel einer Ausgabe
.EE
"""


def write_page(path: Path, source: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(source.encode(encoding)))


def test_prose_is_read_without_macros_examples_options_and_what_is_not_translated(
    tmp_path: Path,
) -> None:
    write_page(tmp_path / "man1" / "ls.1.gz", ENGLISH)
    write_page(tmp_path / "de" / "man1" / "ls.1.gz", GERMAN)
    assert read_languages(tmp_path) == {
        "en": [
            (
                "ls list the contents of a directory do not ignore entries that begin with a dot "
                "Print a short usage message and exit."
            )
        ],
        "de": [
            (
                "ls den Inhalt eines Verzeichnisses auflisten Einträge nicht auslassen, die mit "
                "einem Punkt beginnen; siehe und"
            )
        ],
    }


def test_a_page_that_cannot_be_read_or_compared_is_left_out(tmp_path: Path) -> None:
    write_page(tmp_path / "man1" / "ls.1.gz", ENGLISH)
    write_page(tmp_path / "de" / "man1" / "ls.1.gz", GERMAN, encoding="latin-1")
    write_page(tmp_path / "fr" / "man1" / "ls.1.gz", "Lister le contenu d\\['e]fini du dossier.")
    write_page(tmp_path / "it" / "man1" / "other.1.gz", "Elenca il contenuto della cartella.")
    write_page(tmp_path / "sr@latin" / "man1" / "ls.1.gz", "Izlistava sadržaj direktorijuma.")
    read = read_languages(tmp_path)
    assert {code: bool(pages) for code, pages in read.items()} == {
        "en": True,
        "de": False,
        "fr": False,
    }


def test_texts_are_cut_between_words_and_always_alike() -> None:
    page = (
        " ".join("abcdefghij"[number % 10] * (number % 7 + 1) for number in range(300))
        + " "
        + "y" * 40
    )
    texts = cut_texts([page], "en", characters=20, most=10)
    assert texts == cut_texts([page], "en", characters=20, most=10)
    assert len(texts) == len(set(texts)) == 10
    assert all(15 <= len(text) <= 20 and text in page for text in texts)
    chinese = cut_texts(["这部电影 Linux 很好看我喜欢"], "zh", characters=5, most=9)
    assert sorted(chinese) == ["好看我喜欢", "这部电影很"]


class AlwaysEnglish:
    """Is sure of texts that begin with a capital."""

    def detect(self, text: str) -> Language:
        return Language("en", text[0].isupper(), 1.0)


def test_each_language_counts_the_same() -> None:
    texts = {"en": ["One", "two", "three", "four"], "de": ["Eins"]}
    found = measure(AlwaysEnglish(), texts)  # type: ignore[arg-type]
    assert found[:3] == Found(0.5, (0.25 + 1) / 2, 0.5, 0.0)[:3]
    assert found.microseconds >= 0
    unsure = measure(AlwaysEnglish(), {"en": ["one"]})  # type: ignore[arg-type]
    assert math.isnan(unsure.right_if_reliable)


def test_tables_have_a_row_for_each_length_and_detector_and_for_each_everyday_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detectors, "LEAST_TEXTS", 1)
    page = "This is a long and entirely English page about a film that I liked very much."
    lines = render({"en": [page]}, "a CPU").splitlines()
    shown = [line.split(" | ")[:3] for line in lines if line[2:3].isdigit()]
    assert [row[0] for row in shown] == [f"| {n}" for n in (10, 20, 50) for _ in DETECTORS]
    assert [row[2] for row in shown] == [*DETECTORS] * 3
    assert "One thread of a CPU. In bold what is wrong:" in lines
    (laptop,) = (line for line in lines if line.startswith("| My laptop is broken | en |"))
    assert "| **nl 0.97, reliable** |" in laptop


def test_a_machine_without_translated_pages_is_told_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["detectors", "--man", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert f"{tmp_path}: manual pages in 0 languages; expected 10" in capsys.readouterr().err
