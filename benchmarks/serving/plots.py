"""Plot of latency against load: the open loops of each served model."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.measured import Comparison
from benchmarks.serving.names import CLASSIFY, SERVERS

_TARGET_MS = 100


def draw_loads(comparisons: Sequence[Comparison]) -> Figure | None:
    """Return the plot, or None if no open loop was measured."""
    measured = [comparison for comparison in comparisons if comparison.open]
    if not measured:
        return None
    figure = Figure(figsize=(10, 4 * len(measured)), layout="constrained")
    rows = figure.subplots(len(measured), 1, squeeze=False)[:, 0]
    for axes, comparison in zip(rows, measured, strict=True):
        _draw(axes, comparison)
    return figure


def _draw(axes: Axes, comparison: Comparison) -> None:
    for number, name in enumerate(SERVERS):
        loads = [loop.load for loop in comparison.open if loop.server == name]
        if not loads:
            continue
        for label, values, line in (
            ("p99", [load.p99 for load in loads], "-"),
            ("p50", [load.p50 for load in loads], ":"),
        ):
            axes.plot(
                [load.rate or math.nan for load in loads],
                [value or math.nan for value in values],
                line,
                color=f"C{number}",
                linewidth=2 if name == CLASSIFY else 1,
                marker="o",
                label=f"{name}, {label}",
            )
    axes.axhline(_TARGET_MS, color="tab:gray", linewidth=0.8)
    axes.set(
        title=f"{comparison.kind}, {comparison.engine}: open loop",
        xlabel="arrivals/s",
        ylabel="ms from the scheduled arrival",
        yscale="log",
    )
    axes.set_xlim(left=0)
    axes.legend(fontsize=8)
