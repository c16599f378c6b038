"""The tables of CONTRIBUTING name rooms, files and constants that exist."""

import ast
import re
from pathlib import Path

import pytest

from tasks.common.settings import REPOSITORY
from tests.support.architecture import FOLDERS, RANK

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")

PATH = re.compile(r"[\w./-]*[/.][\w./-]*")


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the cells of each table row under a heading, without the tables' heads."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    tables = re.findall(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", section, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def problems_of(row: list[str], repository: Path) -> list[str]:
    """Return what a row of the table of changes names that does not exist."""
    if len(row) != 3:
        return [f"{len(row)} cells; expected change, code, tests"]
    _change, code, tests = row
    named = quoted(code) + quoted(tests)
    paths = [name for name in named if PATH.fullmatch(name)]
    problems = [f"no file {path}" for path in paths if not (repository / path).is_file()]
    if not any(path.startswith("tests/") for path in quoted(tests)):
        problems.append("no test is named")
    files = [repository / path for path in paths if (repository / path).is_file()]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    names = [name for name in named if name not in paths]
    return problems + [
        f"no {name} in these files" for name in names if not re.search(rf"\b{name}\b", text)
    ]


CHANGES = rows_of(PAGE, "Where does a change go")


def test_many_changes_are_listed() -> None:
    assert len(CHANGES) >= 12


@pytest.mark.parametrize("row", CHANGES, ids=lambda row: row[0].replace("`", ""))
def test_files_of_a_change_exist(row: list[str]) -> None:
    assert problems_of(row, REPOSITORY) == []


def test_what_a_change_names_and_does_not_exist_is_found(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("LIMIT = 1\n", encoding="utf-8")
    row = ["another rule", "`LIMIT` and `MOST` in `rules.py`, `tasks/gone.py`", "by hand"]
    assert problems_of(row, tmp_path) == [
        "no file tasks/gone.py",
        "no test is named",
        "no MOST in these files",
    ]
    assert problems_of(["another rule", "`rules.py`"], tmp_path) == [
        "2 cells; expected change, code, tests"
    ]


def rooms() -> dict[str, str]:
    """Return the docstring of each room of the repository by its folder."""
    inits = [path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*/__init__.py")]
    return {
        f"{path.parent.relative_to(REPOSITORY).as_posix()}/": str(
            ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        )
        for path in inits
    }


def test_every_room_is_listed_with_its_purpose() -> None:
    purposes = {quoted(row[-2])[0]: row[-1] for row in rows_of(PAGE, "Rooms")}
    # The table of folders says more of these than their docstrings.
    folders = {f"{folder}/" for folder in (*FOLDERS, "benchmarks", "tests")}
    listed = purposes.keys() - folders - {"tests/support/", "tests/system/"}
    assert {room: purposes[room] for room in listed} == rooms()


def test_rooms_of_tasks_are_listed_with_their_ranks() -> None:
    rows = [row for row in rows_of(PAGE, "Rooms") if len(row) == 3]
    assert {quoted(room)[0]: int(rank) for rank, room, _ in rows} == {
        f"tasks/{room}/": rank for room, rank in RANK.items()
    }


def test_every_folder_that_is_listed_exists() -> None:
    folders = [quoted(row[-2])[0] for row in rows_of(PAGE, "Rooms")]
    assert {f"{folder}/" for folder in FOLDERS} <= set(folders)
    assert [folder for folder in folders if not (REPOSITORY / folder).is_dir()] == []
