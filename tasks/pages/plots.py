"""Plots of HTML reports: inline SVG by matplotlib, with colours from the page's CSS variables."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from tasks.common.counting import SCORE_BINS
from tasks.common.task_errors import class_and_line
from tasks.measures.evaluation_plots import drawing, shorten_name
from tasks.pages.formatting import format_count_of, percent
from tasks.pages.page import Plot

Data = TypeVar("Data")

_SIZE = (5.6, 3.1)  # inches
_MAX_BARS = 10

# matplotlib cannot write CSS variables, so `_inline_svg` replaces these colours with them.
_INK, _LINE = "#010101", "#020202"
_SERIES = ("#030303", "#040404", "#050505", "#060606")
_CSS = {
    _INK: "currentColor",
    _LINE: "var(--line)",
    _SERIES[0]: "var(--now)",
    _SERIES[1]: "var(--before)",
    _SERIES[2]: "var(--trained)",
    _SERIES[3]: "var(--more)",
}
MOST_SERIES = len(_SERIES)
_STYLES = ("-", "--", ":", "-.")

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
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


def draw_plot(
    name: str, title: str, alt_text: str, plot: Callable[[Data], Figure], data: Data
) -> Plot:
    """Draw data as a plot of a page: `draw_plot("roc", "ROC", "…", plot_roc_curves, curves)`.

    Args:
        name: Unique on the page, as a prefix of the ids in the SVG.
        title: Shown above the plot, in place of the titles in the figure.
        alt_text: Describes the plot to screen readers.
        plot: Plots `data` as a figure, with matplotlib's defaults set to the style of the page.
        data: The data.

    Returns:
        The plot; if it cannot be drawn, its `error` says why.
    """
    try:
        svg = _draw_svg(name, plot, data)
    except Exception as error:  # noqa: BLE001 -- the rest of the page does not depend on it
        return Plot(title, "", alt_text, error=f"{title}: not drawn ({class_and_line(error)})")
    return Plot(title, _inline_svg(svg, name), alt_text)


def _draw_svg(name: str, plot: Callable[[Data], Figure], data: Data) -> str:
    target = StringIO()
    with drawing(_STYLE | {"svg.hashsalt": name}):
        figure = plot(data)
        for axes in figure.axes:
            axes.set_title("")
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def plot_score_distribution(series: Mapping[str, Sequence[int]]) -> Figure:
    """Plot the share of rows by score: bars for the first series, lines for the others.

    Args:
        series: Rows in bins of equal width, by the name of a run or data set.
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
    axes.set(xlim=(_lowest_score(series.values()), 1), xlabel="prediction score")
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.3g} %")
    axes.grid(axis="y", color=_LINE, lw=0.8)
    axes.set_axisbelow(True)
    _add_legend(axes, names=len(series))
    return figure


def describe_scores(series: Mapping[str, Sequence[int]]) -> str:
    """Return the alternative text of `plot_score_distribution`."""
    parts = []
    for name, bins in series.items():
        total = max(1, sum(bins))
        high = percent(sum(bins[-SCORE_BINS // 10 :]) / total)
        parts.append(f"{name}: {high} of {format_count_of(total, 'row')} score 0.9 or more")
    return f"Share of rows by prediction score. {'; '.join(parts)}."


def plot_shares(series: Mapping[str, Mapping[str, int]]) -> Figure:
    """Plot shares of rows as a group of bars for each label or language.

    Args:
        series: Rows by label or language, by the name of a run or data set; the first one has the
            order of the bars.
    """
    names = list(dict.fromkeys(name for rows in series.values() for name in rows))[:_MAX_BARS]
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
    axes.set_yticks(range(len(names)), [shorten_name(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xticks([])  # each bar has a label
    _add_legend(axes, names=len(series))
    return figure


class RunningAccuracy(NamedTuple):
    """Accuracies of a version in windows of labels.

    Attributes:
        labels: How many labels there are up to the end of each window.
        windows: The accuracy in each window.
        so_far: The accuracy on all labels up to its end.
    """

    labels: Sequence[int]
    windows: Sequence[float]
    so_far: Sequence[float]


def plot_running_accuracy(series: Mapping[str, RunningAccuracy]) -> Figure:
    """Plot accuracies of versions beside each other: thin steps are windows, lines all so far.

    Args:
        series: By the name of the version; `MOST_SERIES` at most.
    """
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    start = 0
    for color, (name, found) in zip(_SERIES, series.items(), strict=False):
        edges = [start, *(start + labels for labels in found.labels)]
        axes.stairs(
            [100 * value for value in found.windows], edges, baseline=None, color=color, alpha=0.6
        )
        so_far = [100 * value for value in found.so_far]
        axes.plot(edges[1:], so_far, color=color, ls="-", lw=1.8, marker="o", ms=3, label=name)
        start = edges[-1]
    axes.set(xlim=(0, start), xlabel="labels, version after version")
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.3g} %")
    axes.grid(axis="y", color=_LINE, lw=0.8)
    axes.set_axisbelow(True)
    _add_legend(axes, names=len(series))
    return figure


def _add_legend(axes: Axes, *, names: int) -> None:
    axes.tick_params(length=0)
    if names > 1:
        axes.figure.legend(loc="outside upper left", ncols=names, fontsize=9, handlelength=1.6)


def _lowest_score(series: Iterable[Sequence[int]]) -> float:
    """Return the lower edge of the first bin with rows; with two labels no score is below 0.5."""
    used = [next((place for place, rows in enumerate(bins) if rows), 0) for bins in series]
    return min(used, default=0) / SCORE_BINS


def _inline_svg(svg: str, name: str) -> str:
    """Return the `<svg>` element of a file, with ids that are unique on the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page's CSS sets the size, and SVG inside HTML needs no namespaces.
    svg = re.sub(r'\s(xmlns(:xlink)?|width|height|version)="[^"]*"', "", svg, count=5)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    for color, variable in _CSS.items():
        svg = svg.replace(color, variable)
    return svg
