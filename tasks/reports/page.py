"""A report as one HTML page: no script, nothing that it loads, every text escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class KeyMetric:
    """One of the large numbers at the top, with a note below it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table whose columns are numbers, but for the first few.

    Attributes:
        header: Names of the columns.
        rows: Their cells.
        words: How many columns hold words, from the left.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, where there is room; see `tasks.reports.plots.Picture`."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence["Picture"]


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        title: Its name.
        svg: An `<svg>` element, the one thing on a page that is not escaped.
        text: What it shows, for those who cannot see it.
    """

    title: str
    svg: str
    text: str


@dataclass(frozen=True)
class Note:
    """A sentence; `warning` sets it off."""

    kind: ClassVar[str] = "note"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Quotes:
    """Texts of rows under a heading: where each is from, and what it says."""

    kind: ClassVar[str] = "quotes"
    heading: str
    rows: Sequence[tuple[str, str]]


Block = Facts | Table | Pictures | Note | Quotes


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page, from top to bottom.

    Attributes:
        kind: What sort of report it is.
        title: What ran.
        subtitle: When, with what.
        key_metrics: The most important metrics.
        sections: All else.
    """

    kind: str
    title: str
    subtitle: str
    key_metrics: Sequence[KeyMetric]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """Return a page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page)
