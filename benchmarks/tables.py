"""Markdown tables of the reports, and the digits of their numbers."""

from collections.abc import Iterable, Iterator, Sequence

from tasks.common.text import markdown_table

NOTHING = "–"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table; all columns but the first are aligned right."""
    yield markdown_table(header, rows, numbers=True)


def shown(value: float | None, unit: str = "") -> str:
    """Return a number with about three significant digits, and its unit."""
    if value is None:
        return NOTHING
    if unit == "%":
        return f"{value:.1%}".replace("%", " %")
    is_whole = abs(value) >= 100 or float(value).is_integer()
    digits = 0 if is_whole else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit == '×' else f' {unit}'}".rstrip()
