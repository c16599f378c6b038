"""Look at labelled data, and write the project file that makes it the default of every flow."""

import re
from pathlib import Path
from typing import Annotated, Any

from flows.parameters import described
from tasks.common.console import print_table
from tasks.common.errors import ParameterError
from tasks.common.files import absolute_path
from tasks.common.parameter_types import about
from tasks.common.settings import get_settings
from tasks.common.urls import is_remote, url_path
from tasks.dataset.inspection import Inspection, inspect_source
from tasks.dataset.letters import Letters
from tasks.dataset.sources import EMBEDDED
from tasks.dataset.types import DataSource, LabelColumn, TextColumn
from tasks.ingestion.text_format import Encoding, Header, ReadOptions, Separator
from tasks.project.project import ProjectName
from tasks.project.project_file import local_timezone, write_project_file

Name = Annotated[
    ProjectName,
    about("Goes in front of the names of the registered models; empty takes the name of the file."),
]
Overwrite = Annotated[bool, about("Whether an earlier project file is replaced.")]

_SHOWN_LABELS = 20
# Shorter texts are often taken for another language.
_LEAST_LANGUAGE_SHARE = 0.1
_FEW_ROWS_OF_A_LABEL = 20


@described
def start_project(
    source: DataSource,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    name: Name = "",
    overwrite: Overwrite = False,
    separator: Separator = None,
    encoding: Encoding = None,
    header: Header = True,
) -> None:
    """Look at labelled data, print what it is like, and write the project file.

    The file is millstream.toml in the repository, or the one that MILLSTREAM_PROJECT names.
    """
    path = get_settings().project
    options = ReadOptions(separator=separator, encoding=encoding, header=header)
    found = inspect_source(
        source, text_column=text_column, label_column=label_column, options=options
    )
    print_table("Labelled data", describe_inspection(found))
    if path.exists() and not overwrite:
        raise ParameterError(
            f"{path}: is there; expected none: --overwrite replaces it, "
            "MILLSTREAM_PROJECT=another.toml keeps it"
        )
    languages = found.distributions["languages"]
    values: dict[str, Any] = {
        "name": name or _name_of(source),
        "source": _as_written(source, path),
        "text_column": found.text_column,
        "label_column": found.label_column,
        "languages": sorted(
            code
            for code, rows in languages.items()
            if code != "und" and rows >= _LEAST_LANGUAGE_SHARE * found.rows.kept
        ),
        **found.needed.model_dump(exclude_defaults=True),
    }
    write_project_file(path, values)
    rows = {
        "project file": path,
        **values,
        "time zone": local_timezone(),
        "next": ".venv/bin/python -m flows.end_to_end",
    }
    print_table("Project", rows)


def describe_inspection(found: Inspection) -> dict[str, Any]:
    """Return what labelled data is like, as the rows of a table."""
    rows, labels = found.rows, found.distributions["labels"]
    shown = dict(list(labels.items())[:_SHOWN_LABELS])
    few = [label for label, count in labels.items() if count < _FEW_ROWS_OF_A_LABEL]
    return {
        "tables": list(found.files),
        "encoding": found.text.encoding or "UTF-8",
        "letters beyond ASCII": _describe_letters(found.letters),
        "separator": {"\t": "tab"}.get(found.separator, found.separator),
        "header line": found.text.header if found.separator else "",
        "columns": [column.name for column in found.columns],
        "text column": found.text_column,
        "label column": found.label_column,
        "rows": rows.read,
        "rows set aside": rows.set_aside,
        "labels": f"{len(labels)}, rows of each: "
        + ", ".join(f"{label} {count}" for label, count in shown.items())
        + (" …" if len(labels) > len(shown) else ""),
        f"labels with less than {_FEW_ROWS_OF_A_LABEL} rows": few[:_SHOWN_LABELS],
        "words of a text": found.distributions["words"],
        "languages": found.distributions["languages"],
        "repeated rows": rows.repeated,
        "rows with contradicting labels": rows.contradicting,
        "warnings": list(found.warnings),
    }


def _describe_letters(letters: Letters) -> str:
    counts = ", ".join(f"{letter} {count}" for letter, count in letters.frequent.items())
    return f"{counts}; in {', '.join(letters.words)}" if counts else "none"


def _name_of(source: str) -> str:
    """Return the name of a file or URL as the name of a project."""
    stem = Path(url_path(source) if is_remote(source) else source).name.split(".")[0]
    return re.sub(r"^[^A-Za-z]+|[^A-Za-z0-9_-]+", "_", stem).strip("_")[:40] or "project"


def _as_written(source: str, project_file: Path) -> str:
    """Return a source as the project file has it: relative to it if that is shorter."""
    if is_remote(source) or source in EMBEDDED:
        return source
    path = absolute_path(Path(source).expanduser())
    folder = project_file.parent
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(start_project)
