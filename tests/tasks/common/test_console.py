import pytest

from tasks.common.console import format_rows, print_table


def test_values_are_put_into_words() -> None:
    fields = {"test_accuracy": 0.81234, "labels": {"a": 2, "b": {"c": 0.5}}, "files": ["x", 1]}
    assert format_rows(fields) == [
        ("test accuracy", "0.8123"),
        ("labels", "a: 2, b: c: 0.5000"),
        ("files", "x, 1"),
    ]
    assert format_rows({"labels": {}, "files": [], "none": None}) == [
        ("labels", "none"),
        ("files", "none"),
        ("none", "none"),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.98, "0.9800"), (1.0, "1"), (2.54, "2.54"), (118.1, "118.1"), (-7.0, "-7"), (0.0, "0.0000")],
)
def test_a_number_has_the_decimals_that_say_something(value: float, shown: str) -> None:
    assert format_rows({"value": value}) == [("value", shown)]


def test_what_looks_like_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Done", {"output_dir": "/x/[red]/[/b]/:smile:", "[i]name": 1})
    shown = capsys.readouterr().out
    assert "/x/[red]/[/b]/:smile:" in shown
    assert "[i]name" in shown
    assert "Done" in shown


def test_piped_table_has_each_value_whole_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    folder = "/home/someone/" + "very-long-name/" * 20
    print_table("Done", {"folder": folder, "why": "too few rows " * 40})
    lines = capsys.readouterr().out.splitlines()
    assert any(folder in line for line in lines)
    assert any(("too few rows " * 40).strip() in line for line in lines)


def test_control_characters_in_a_value_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table("Done", {"failures": {"a\x1b[2J\udce9.csv": "no column 'text'"}})
    assert "a\\x1b[2J\\xe9.csv: no column 'text'" in capsys.readouterr().out
