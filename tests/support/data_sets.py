"""The shapes of ten public data sets, with texts of the packaged reviews."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dataset.labelled_rows import read_labelled
from tasks.dataset.sources import fetch_tables
from tasks.ingestion.text_format import ReadOptions

START = 40  # characters of a text that no shape changes

Rows = Sequence[tuple[str, str]]
Write = Callable[[Path, Rows], Path]


@dataclass(frozen=True)
class DataSet:
    """A shape, and the options that a user gives to read it.

    Attributes:
        name: Of the data set that has it.
        write: Writes rows of text and label in a folder; returns the file or folder.
        labels: What it calls the labels negative and positive.
        options: Of the text of its files.
        text_column: Its column of texts; found by itself if it is not given to `start_project`.
        label_column: Its column of labels.
    """

    name: str
    write: Write
    labels: tuple[str, str]
    options: ReadOptions = field(default_factory=ReadOptions)
    text_column: str = "text"
    label_column: str = "label"

    def rows(self, count: int) -> list[tuple[str, str]]:
        """Return texts of reviews with the labels of this data set."""
        (file,) = fetch_tables("rotten_tomatoes")
        reviews = read_labelled([file])
        # Each encoding has them, and what a shape adds to a text is not at its start.
        reviews = reviews[[text.isascii() and len(text) > START for text in reviews["text"]]]
        step = len(reviews) // count
        names = dict(zip(("negative", "positive"), self.labels, strict=True))
        chosen = reviews.iloc[: step * count : step]
        return [(t, names[label]) for t, label in zip(chosen["text"], chosen["label"], strict=True)]


def as_csv(rows: Sequence[Sequence[str]], separator: str = ",", end: str = "\n") -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, lineterminator=end).writerows(rows)
    return buffer.getvalue()


def _saved(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


def _quoted(*rows: Sequence[str]) -> str:
    return "".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows
    )


def ag_news(folder: Path, rows: Rows) -> Path:
    content = _quoted(*((label, f"Title {n}", text) for n, (text, label) in enumerate(rows)))
    return _saved(folder / "ag_news.csv", content)


def banking77(folder: Path, rows: Rows) -> Path:
    # Some of its texts have line breaks.
    table = [("text", "category"), *((f"{text}\n\nThank you", label) for text, label in rows)]
    return _saved(folder / "banking77.csv", as_csv(table))


def emotion(folder: Path, rows: Rows) -> Path:
    # It is called train.txt, which is refused. Its texts have no semicolon and no quotes.
    texts = ((text.replace(";", ",").replace('"', "'"), label) for text, label in rows)
    content = "".join(f"{text};{label}\n" for text, label in texts)
    return _saved(folder / "emotion.csv", content)


def tweet_eval(folder: Path, rows: Rows) -> Path:
    table = {"text": [text for text, _ in rows], "label": [int(label) for _, label in rows]}
    path = folder / "tweet_eval.parquet"
    pq.write_table(pa.table(table), path)
    return path


def yelp(folder: Path, rows: Rows) -> Path:
    content = _quoted(*((label, f'{text}\\n"Great"') for text, label in rows))
    return _saved(folder / "yelp.csv", content)


def _imdb_files(rows: Rows) -> Iterator[tuple[str, str]]:
    yield "aclImdb/README", "about"
    yield "aclImdb/imdb.vocab", "the\nand"
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            yield f"aclImdb/{part}/urls_{label}.txt", "http://www.imdb.com/title/tt0453418/"
    yield "aclImdb/train/unsup/0_0.txt", "No label."
    for n, (text, label) in enumerate(rows):
        yield f"aclImdb/{('train', 'test')[n % 5 == 0]}/{label}/{n}_7.txt", text


def imdb_folder(folder: Path, rows: Rows) -> Path:
    for name, text in _imdb_files(rows):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "aclImdb"


def imdb_zip(folder: Path, rows: Rows) -> Path:
    path = folder / "aclImdb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _imdb_files(rows):
            archive.writestr(name, text)
    return path


def sentiment140(folder: Path, rows: Rows) -> Path:
    day = "Mon Apr 06 22:19:45 PDT 2009"
    content = _quoted(
        *(
            (label, str(1_467_810_369 + n), day, "NO_QUERY", f"user{n}", f"{text} ½ café")
            for n, (text, label) in enumerate(rows)
        )
    )
    return _saved(folder / "sentiment140.csv", content, "latin-1")


def comments(folder: Path, rows: Rows) -> Path:
    header = ("id", "comment_text", "obscene", "insult", "toxic")
    table = [(f"{n:016x}", text, "0", "1", label) for n, (text, label) in enumerate(rows)]
    return _saved(folder / "comments.csv", as_csv([header, *table]))


def german_export(folder: Path, rows: Rows) -> Path:
    header = ("Nr", "Text", "Betrag", "Kategorie")
    table = [(str(n), f"{text} für €", f"{n},50", label) for n, (text, label) in enumerate(rows)]
    return _saved(folder / "export.csv", as_csv([header, *table], ";", "\r\n"), "cp1252")


def excel_export(folder: Path, rows: Rows) -> Path:
    # With a line that names the separator, and a mark.
    table = as_csv([("Text", " Label "), *rows], ";", "\r\n")
    return _saved(folder / "excel.csv", "sep=;\r\n" + table, "utf-8-sig")


def excel_unicode(folder: Path, rows: Rows) -> Path:
    # "Unicode text", which Excel calls .txt.
    return _saved(
        folder / "unicode.csv", as_csv([("Text", "Label"), *rows], "\t", "\r\n"), "utf-16"
    )


def json_array(folder: Path, rows: Rows) -> Path:
    array = [{"text": text, "label": label} for text, label in rows]
    return _saved(folder / "array.json", json.dumps(array, indent=1, ensure_ascii=False))


_NO_HEADER = ReadOptions(header=False)

DATA_SETS = (
    DataSet("ag_news", ag_news, ("1", "2"), _NO_HEADER, "column_3", "column_1"),
    DataSet("banking77", banking77, ("card_arrival", "lost_card"), label_column="category"),
    DataSet("emotion", emotion, ("sadness", "joy"), _NO_HEADER, "column_1", "column_2"),
    DataSet("tweet_eval", tweet_eval, ("0", "2")),
    DataSet("yelp", yelp, ("1", "2"), _NO_HEADER, "column_2", "column_1"),
    DataSet("imdb folder", imdb_folder, ("neg", "pos")),
    DataSet("imdb zip", imdb_zip, ("neg", "pos")),
    DataSet(
        "sentiment140",
        sentiment140,
        ("0", "4"),
        ReadOptions(header=False, encoding="latin-1"),
        "column_6",
        "column_1",
    ),
    DataSet("comments", comments, ("0", "1"), text_column="comment_text", label_column="toxic"),
    DataSet(
        "german export",
        german_export,
        ("Lob", "Beschwerde"),
        ReadOptions(encoding="cp1252"),
        text_column="Text",
        label_column="Kategorie",
    ),
    DataSet("excel export", excel_export, ("a", "b"), text_column="Text", label_column=" Label "),
    DataSet("excel unicode", excel_unicode, ("a", "b"), text_column="Text", label_column="Label"),
    DataSet("json array", json_array, ("a", "b")),
)
