"""What a run shows at its end: in the terminal, and in its log where it has none."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect.runtime import deployment
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.common.markdown import markdown_table

logger = logging.getLogger(__name__)


def as_rows(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as words."""
    return [(name.replace("_", " "), _as_words(value)) for name, value in fields.items()]


def print_table(title: str, fields: Mapping[str, Any]) -> None:
    """Print `fields`, a line each, under `title`; a deployment logs them."""
    if deployment.id:  # the output of its process is read by nobody
        for name, value in as_rows(fields):
            logger.info("%s: %s", name, value)
        return
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in as_rows(fields):
        table.add_row(Text(name), Text(value))  # a path may look like markup
    Console().print(table)


def as_markdown(title: str, fields: Mapping[str, Any]) -> str:
    """Return `fields` as a Markdown table under a heading."""
    return f"# {title}\n\n{markdown_table(('', ''), as_rows(fields))}"


def _as_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_as_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_words, value)) or "none"
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
