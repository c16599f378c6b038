"""Plots of the benchmark's results, as SVG files."""

from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measured import Results
from benchmarks.report import PERCENTILES, SERVED, latencies
from benchmarks.serving.plots import draw_loads
from benchmarks.timing import median_of

_OURS = {"engine": "tab:blue", "pyfunc": "tab:cyan"}
_THEIRS = "tab:gray"


def write_plots(results: Results, folder: Path) -> None:
    """Write a plot of each measured part into `folder`, as SVG."""
    plots = {
        "rows_per_second": results.races and _races(results),
        "growth": results.growth and _growth(results),
        "latency": results.serving and _latency(results),
        "load": draw_loads(results.served),
        "budgets": results.budgets and _budgets(results),
    }
    for name, figure in plots.items():
        if figure:
            # Without a date, equal results give equal files.
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _races(results: Results) -> Figure:
    figure = Figure(figsize=(11, 4.5 * len(results.races)), layout="constrained")
    for axes, race in zip(_rows(figure, len(results.races)), results.races, strict=True):
        names = list(race.families)[::-1]
        speeds = [median(race.rows_per_second(name)) for name in names]
        colours = [_OURS.get(race.families[name], _THEIRS) for name in names]
        bars = axes.barh(names, speeds, color=colours)
        axes.bar_label(bars, fmt="%.0f", padding=3)
        axes.set(title=f"{race.kind}, at most {race.max_tokens} tokens", xlabel="rows/s")
    return figure


def _growth(results: Results) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    sizes = list(zip(*(turn.cold for turn in results.growth), strict=True))
    rows = [runs[0].rows for runs in sizes]
    times = [median_of(run.shards and run.shards / run.rows * 1_000 for run in r) for r in sizes]
    memory = [median(run.peak_mib for run in runs) for runs in sizes]
    left, right = figure.subplots(1, 2)
    left.plot(rows, times, marker="o")
    left.set(title="Time", xlabel="rows", ylabel="ms a row", xscale="log")
    right.plot(rows, memory, marker="o")
    right.set(title="Memory", xlabel="rows", ylabel="peak, MiB", xscale="log")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    return figure


def _latency(results: Results) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 1 / (len(SERVED) + 1)
    for number, name in enumerate(SERVED):
        places = [place + number * width for place in range(len(PERCENTILES))]
        axes.bar_label(
            axes.bar(places, latencies(results, name), width, label=name), fmt="%.1f", fontsize=7
        )
    ticks = [place + (len(SERVED) - 1) * width / 2 for place in range(len(PERCENTILES))]
    axes.set_xticks(ticks, ["p50", "p90", "p99", "max"])
    axes.set(title="One client of the served model", ylabel="ms")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _budgets(results: Results) -> Figure:
    figure = Figure(figsize=(10, 4 * len(results.budgets)), layout="constrained")
    for axes, found in zip(_rows(figure, len(results.budgets)), results.budgets, strict=True):
        for name, speeds in found.rows_per_second.items():
            axes.plot(list(speeds), list(speeds.values()), marker="o", label=name)
        axes.set(title=found.kind, xlabel="tokens of a batch at most", ylabel="rows/s")
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.legend()
    return figure


def _rows(figure: Figure, count: int) -> list[Any]:
    return list(figure.subplots(count, 1, squeeze=False)[:, 0])
