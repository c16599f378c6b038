"""Render a report as one HTML page by a Jinja template: no script, nothing external, escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class KeyMetric:
    """A metric in large type at the top of a page, with a note below it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """A list of names with their values."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table whose first columns are text and whose others are numbers.

    Attributes:
        header: Names of the columns.
        rows: Their cells.
        text_columns: How many columns are text.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


@dataclass(frozen=True)
class Plot:
    """A plot; see `tasks.pages.plots.draw_plot`.

    Attributes:
        title: Shown above it.
        svg: An `<svg>` element, which alone is not escaped on a page.
        alt_text: Describes it to screen readers.
        error: Why it could not be drawn; a page has it in the place of the plot.
    """

    title: str
    svg: str
    alt_text: str
    error: str = ""


@dataclass(frozen=True)
class Plots:
    """Plots side by side on a wide screen."""

    kind: ClassVar[str] = "plots"
    plots: Sequence[Plot]


@dataclass(frozen=True)
class Note:
    """A sentence, highlighted as a warning or not."""

    kind: ClassVar[str] = "note"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Quotes:
    """Texts of rows under a heading, each with the place of its row."""

    kind: ClassVar[str] = "quotes"
    heading: str
    rows: Sequence[tuple[str, str]]


Block = Facts | Table | Plots | Note | Quotes


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page, from top to bottom.

    Attributes:
        kind: `Scoring report` or `Training report`.
        title: Name of the run.
        subtitle: Its time, model and engine or data.
        key_metrics: Those at the top.
        sections: The rest of the page.
    """

    kind: str
    title: str
    subtitle: str
    key_metrics: Sequence[KeyMetric]
    sections: Sequence[Section]


def plot_errors(page: Page) -> list[str]:
    """Return why plots of a page could not be drawn, one line for each."""
    blocks = [block for section in page.sections for block in section.blocks]
    plots = [plot for block in blocks if isinstance(block, Plots) for plot in block.plots]
    return [plot.error for plot in plots if plot.error]


def render_page(page: Page) -> str:
    """Return a page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page)
