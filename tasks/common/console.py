"""Print a run's result as a table in the terminal, or log it in a deployment."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect.runtime import deployment
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.common.text import escape_markdown, markdown_table, printable

logger = logging.getLogger(__name__)

# Of a pipe or a file, which cuts no line: a path or a word that is folded cannot be searched for.
_PIPED_WIDTH = 100_000


def format_rows(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as readable text."""
    return [(name.replace("_", " "), _format_value(value)) for name, value in fields.items()]


def print_table(title: str, fields: Mapping[str, Any]) -> None:
    """Print `fields` as a table under `title`; in a deployment, log them."""
    if deployment.id:  # nobody reads the standard output of its process
        for name, value in format_rows(fields):
            logger.info("%s: %s", name, value)
        return
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in format_rows(fields):
        table.add_row(Text(name), Text(printable(value)))  # a path may look like markup
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def format_markdown(title: str, fields: Mapping[str, Any]) -> str:
    """Return `fields` as a Markdown table under a heading."""
    rows = [(name, escape_markdown(value)) for name, value in format_rows(fields)]
    return f"# {title}\n\n{markdown_table(('', ''), rows)}"


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_format_value(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_value, value)) or "none"
    if value is None:
        return "none"
    return _format_float(value) if isinstance(value, float) else str(value)


def _format_float(value: float) -> str:
    """Return four decimals of a share, at most two of a larger number: `0.9700`, `2.54`, `10`."""
    if abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:.2f}".rstrip("0").rstrip(".")
