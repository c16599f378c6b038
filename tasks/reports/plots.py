"""Plots inside a report: SVG that takes its colours from the page, in light and in dark."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from tasks.common.counting import SCORE_BINS
from tasks.reports.formatting import percent, things
from tasks.reports.page import Picture

_SIZE = (5.6, 3.1)  # inches
_MOST_BARS = 10

# Matplotlib knows no variables of CSS, so these colours stand for them.
_INK, _LINE = "#010101", "#020202"
_SERIES = ("#030303", "#040404", "#050505", "#060606")
_CSS = {
    _INK: "currentColor",
    _LINE: "var(--line)",
    **dict(
        zip(
            _SERIES,
            ("var(--now)", "var(--before)", "var(--trained)", "var(--more)"),
            strict=True,
        )
    ),
}
_STYLES = ("-", "--", ":", "-.")

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold a dollar sign
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 0,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=_SERIES) + cycler(linestyle=_STYLES),
}

# All that a page may hold of a run: rows by label or language, one for each run that is shown.
Series = Mapping[str, Mapping[str, int]]


def draw(name: str, title: str, text: str, figure: Callable[[], Figure]) -> Picture:
    """Return a figure as a picture for a page.

    Args:
        name: Unique on the page: the ids inside are made from it.
        title: Shown above the picture.
        text: What it shows, for those who cannot see it.
        figure: Makes it; what it takes from matplotlib's defaults suits the page.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        drawn = figure()
        for axes in drawn.axes:
            axes.set_title("")
        target = StringIO()
        drawn.savefig(target, format="svg", metadata={"Date": None})
    return Picture(title, _inlined(target.getvalue(), name), text)


def score_distribution(series: Mapping[str, Sequence[int]]) -> Figure:
    """Return a picture of the share of rows by score: bars for the first, lines for the others.

    Args:
        series: Rows in bins of equal width, by what they are of.
    """
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    edges = [place / SCORE_BINS for place in range(SCORE_BINS + 1)]
    for number, (name, bins) in enumerate(series.items()):
        shares = [100 * rows / max(1, sum(bins)) for rows in bins]
        color = _SERIES[number]
        if number == 0:
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.55, label=name)
        else:
            axes.stairs(shares, edges, color=color, lw=1.8, ls=_STYLES[number], label=name)
    axes.set_xlim(_first_score(series.values()), 1)
    axes.set(xlabel="prediction score")
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.3g} %")
    axes.grid(axis="y", color=_LINE, lw=0.8)
    axes.set_axisbelow(True)
    _finish(axes, names=len(series))
    return figure


def scores_as_text(series: Mapping[str, Sequence[int]]) -> str:
    """Return in words what `score_distribution` shows."""
    parts = []
    for name, bins in series.items():
        total = max(1, sum(bins))
        high = percent(sum(bins[-SCORE_BINS // 10 :]) / total)
        parts.append(f"{name}: {high} of {things(total, 'row')} score 0.9 or more")
    return f"Share of rows by prediction score. {'; '.join(parts)}."


def shares_by_name(series: Series) -> Figure:
    """Return a picture of shares of rows, a group of bars for each name.

    Args:
        series: Rows by label or language, by what they are of; the first decides the order.
    """
    names = names_shown(series)
    height = max(1.7, 0.6 + len(names) * (0.2 + 0.17 * len(series)))
    figure = Figure((_SIZE[0], height), layout="constrained")
    axes = figure.subplots()
    thickness = 0.8 / len(series)
    for number, (name, rows) in enumerate(series.items()):
        shares = [rows.get(key, 0) / max(1, sum(rows.values())) for key in names]
        places = [
            place + (number - (len(series) - 1) / 2) * thickness for place in range(len(names))
        ]
        bars = axes.barh(places, shares, height=thickness * 0.88, color=_SERIES[number], label=name)
        axes.bar_label(bars, [percent(value) for value in shares], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), [_shortened(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xticks([])  # each bar says its number
    _finish(axes, names=len(series))
    return figure


def names_shown(series: Series) -> list[str]:
    """Return the labels or languages that most rows have, in the first series or any other."""
    return list(dict.fromkeys(name for rows in series.values() for name in rows))[:_MOST_BARS]


def _finish(axes: Axes, *, names: int) -> None:
    axes.tick_params(length=0)
    if names > 1:
        axes.figure.legend(loc="outside upper left", ncols=names, fontsize=9, handlelength=1.6)


def _first_score(series: Iterable[Sequence[int]]) -> float:
    """Return where scores begin: with two labels there are none below a half."""
    used = [next((place for place, rows in enumerate(bins) if rows), 0) for bins in series]
    return min(used, default=0) / SCORE_BINS


def _shortened(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _inlined(svg: str, name: str) -> str:
    """Return the bare `<svg>` element of a file, its ids unlike those of other pictures."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page sets the size; what is inside HTML needs no names of name spaces.
    svg = re.sub(r'\s(xmlns(:xlink)?|width|height|version)="[^"]*"', "", svg, count=5)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    for color, variable in _CSS.items():
        svg = svg.replace(color, variable)
    return svg
