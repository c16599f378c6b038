"""What is found out about labelled data before a training."""

import json
from pathlib import Path

import pytest

from tasks.common.errors import DataError
from tasks.dataset.inspection import inspect_source
from tasks.ingestion.text_format import ReadOptions


def write(path: Path, header: str, rows: list[str]) -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def tickets(tmp_path: Path) -> str:
    """Tickets with numbers, priorities, a subject, a text and a queue."""
    queues = ("billing", "login", "delivery")
    rows = [
        f"{n},{n % 2},case {n},please help me with problem {n} of mine today,{queues[n % 3]}"
        for n in range(60)
    ]
    return write(tmp_path / "tickets.csv", "id,priority,subject,details,queue", rows)


def test_columns_are_found_by_name_or_by_what_they_hold(home: Path, tickets: str) -> None:
    found = inspect_source(tickets)
    assert (found.text_column, found.label_column) == ("details", "queue")
    assert [column.name for column in found.columns] == [
        *("id", "priority", "subject", "details", "queue")
    ]
    assert [column.distinct for column in found.columns] == [60, 2, 60, 60, 3]
    assert found.distributions["labels"] == {"billing": 20, "login": 20, "delivery": 20}
    assert found.rows.read == found.rows.kept == 60


def test_columns_that_are_given_win(home: Path, tickets: str) -> None:
    found = inspect_source(tickets, text_column="subject", label_column="priority")
    assert (found.text_column, found.label_column) == ("subject", "priority")
    assert found.distributions["labels"] == {"0": 30, "1": 30}


def test_repeated_contradicting_and_empty_rows_are_counted(home: Path, tmp_path: Path) -> None:
    rows = [f"text {n},{'ab'[n % 2]}" for n in range(40)]
    rows += ["text 0,a", "text 1,a", ",", "\u200b,b"]
    found = inspect_source(write(tmp_path / "rows.csv", "message,kind", rows))
    assert (found.text_column, found.label_column) == ("message", "kind")
    assert (found.rows.read, found.rows.kept) == (44, 42)
    assert (found.rows.repeated, found.rows.contradicting) == (1, 2)
    assert sum(found.rows.set_aside.values()) == 2


def test_labels_of_json_lines_may_be_numbers(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"stars": n % 5 + 1, "review": f"a film {n}"}) for n in range(50)]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = inspect_source(str(path))
    assert (found.text_column, found.label_column) == ("review", "stars")


def test_without_a_column_of_labels_the_parameter_is_named(home: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "texts.csv", "id,text", [f"{n},a text {n}" for n in range(30)])
    with pytest.raises(DataError, match=r"no column of labels .* among its 2; .* --label-column$"):
        inspect_source(source)


@pytest.mark.parametrize(
    "value", ["customer {m}", "{m}.5", "one of {k} sentences that people wrote again and again"]
)
def test_a_column_that_looks_like_no_label_is_not_taken_for_one(
    home: Path, tmp_path: Path, value: str
) -> None:
    rows = [f"a text of some more words than others have {n}," for n in range(200)]
    rows = [row + value.format(m=n % 60, k=n % 5) for n, row in enumerate(rows)]
    source = write(tmp_path / "texts.csv", "text,other", rows)
    with pytest.raises(DataError, match=r"no column of labels .* --label-column$"):
        inspect_source(source)
    given = inspect_source(source, label_column="other")
    assert (given.label_column, given.warnings) == ("other", ())


def test_a_column_of_labels_by_its_place_alone_is_a_guess(home: Path, tickets: str) -> None:
    rows = [f"a text of {n},{n % 3}" for n in range(40)]
    source = write(Path(tickets).with_name("rows.csv"), "text,kind", rows)
    (warning,) = inspect_source(source).warnings
    assert warning == (
        "label column: 'kind' is a guess, it holds numbers; name another with --label-column"
    )
    assert not inspect_source(tickets).warnings  # its name is one of labels


def test_a_first_line_that_is_a_row_is_noticed_by_its_label(home: Path, tmp_path: Path) -> None:
    source = write(
        tmp_path / "rows.csv", "a text of 0,good", [f"a text of {n},good" for n in (1, 2)]
    )
    Path(source).write_text(Path(source).read_text() + "a text of 3,bad\n" * 3)
    *_, warning = inspect_source(source, label_column="good").warnings
    assert warning == (
        "header line: 'good' names a column and is one of its labels, so that the first line is "
        "probably a row; --no-header reads it as one"
    )


def test_what_is_not_found_by_itself_is_needed(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [f"schöne Grüße {n}^{'ab'[n % 2]}" for n in range(40)]
    path.write_text("\n".join(rows), encoding="cp1252")
    with pytest.raises(DataError, match=r"line 1: not UTF-8; .* --encoding cp1252\)$"):
        inspect_source(str(path))
    options = ReadOptions(separator="^", encoding="cp1252", header=False)
    found = inspect_source(str(path), options=options)
    assert (found.text_column, found.label_column) == ("column_1", "column_2")
    assert (found.needed, found.separator, found.text.encoding) == (options, "^", "cp1252")


def test_a_wrong_separator_is_named_with_the_one_of_the_file(home: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", "text;label", ["a text, and more;x", "a text;y"])
    with pytest.raises(DataError) as raised:
        inspect_source(source, options=ReadOptions(separator=","))
    assert str(raised.value) == (
        f"{source}: row 1 (line 2): 2 cells; expected 1; read with --separator ',', the file "
        "seems to be separated by ';'"
    )


@pytest.mark.parametrize("separator", [",", ";", "tab"])
def test_what_is_found_by_itself_is_not_needed(home: Path, tmp_path: Path, separator: str) -> None:
    options = ReadOptions(separator=separator)
    character = options.separator or ""
    rows = [f"words of {n}{character}{'ab'[n % 2]}" for n in range(40)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([f"Text{character}Label", *rows]), encoding="utf-16")
    found = inspect_source(str(path), options=options)
    assert (found.needed, found.separator) == (ReadOptions(), character)
    assert (found.text_column, found.label_column) == ("Text", "Label")
