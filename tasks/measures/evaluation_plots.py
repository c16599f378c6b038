"""Evaluation plots as matplotlib figures: confusion matrix, ROC, loss, reliability.

Plots are made and rendered within `drawing`: they show texts of a user, and in these `$`, a line
break or a missing glyph is no error. Figures are not made by pyplot, whose state is global: tasks
run in threads.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]  # x, y

# More make the cells of a matrix too small to read, and their number grows with the square.
MOST_LABELS = 24
MOST_CURVES = 10

Data = TypeVar("Data")

_INCHES_PER_LABEL = 0.3
_BIG_MATRIX = 8  # labels, from which the figure grows
_PIXELS_PER_INCH = 100
_LONGEST_NAME = 24  # characters

_lock = threading.Lock()


@contextmanager
def drawing(style: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Set matplotlib up for the block, in which figures are made and rendered.

    matplotlib would read `$` as mathematics. Its settings and Python's filters of warnings are
    global, so one thread draws at a time.

    Args:
        style: Other settings of matplotlib.
    """
    settings: dict[Any, Any] = {"text.parse_math": False, **(style or {})}
    with _lock, mpl.rc_context(settings), warnings.catch_warnings():
        # An empty box in a PNG; in an SVG the browser's font has it.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def draw_png(plot: Callable[[Data], Figure], data: Data) -> bytes:
    """Return a plot of `data` as a PNG file."""
    target = BytesIO()
    with drawing():
        plot(data).savefig(target, format="png", dpi=_PIXELS_PER_INCH)
    return target.getvalue()


def shorten_name(name: str) -> str:
    """Return a label or language as a plot shows it: 24 characters at most, all printable."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    # Replaces line breaks, which take room, and control characters, which XML forbids.
    return "".join(character if character.isprintable() else "·" for character in short)


def most_confused(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the part of a confusion matrix with the `MOST_LABELS` labels of most wrong rows.

    Args:
        counts: Rows are the true labels, columns the predicted ones; in the same order.
    """
    if len(counts) <= MOST_LABELS:
        return counts
    cells = counts.to_numpy()
    wrong = cells.sum(axis=0) + cells.sum(axis=1) - 2 * cells.diagonal()
    kept = np.sort(np.argsort(-wrong, kind="stable")[:MOST_LABELS])
    return counts.iloc[kept, kept]


def plot_confusion_matrix(counts: pd.DataFrame) -> Figure:
    """Plot counts; of many labels, those of most wrong rows.

    Args:
        counts: Rows are the true labels, columns the predicted ones.
    """
    shown = most_confused(counts)
    cells = shown.to_numpy()
    figure, axes = _new_figure(larger_by=max(0, len(shown) - _BIG_MATRIX) * _INCHES_PER_LABEL)
    image = axes.imshow(cells, cmap="Blues")
    figure.colorbar(image, label="rows")
    for (row, column), count in np.ndenumerate(cells):
        color = "white" if count > cells.max() / 2 else "#08306b"
        axes.text(column, row, f"{count:d}", ha="center", va="center", color=color)
    left_out = len(counts) - len(shown)
    title = f"Confusion matrix, without {left_out} labels" if left_out else "Confusion matrix"
    axes.set(xlabel="predicted", ylabel="true", title=title)
    names = [shorten_name(name) for name in shown.index]
    slanted = len(names) < _BIG_MATRIX
    rotation, end = (30, "right") if slanted else (90, "center")
    axes.set_xticks(range(len(names)), names, rotation=rotation, ha=end)
    axes.set_yticks(range(len(names)), names)
    return figure


def plot_roc_curves(curves: Mapping[str, Curve]) -> Figure:
    """Plot one ROC curve a label, against the rest; of many, those of the smallest area.

    Args:
        curves: False and true positive rates by label.
    """
    figure, axes = _new_figure()
    areas = {label: float(np.trapezoid(tpr, fpr)) for label, (fpr, tpr) in curves.items()}
    for label in sorted(areas, key=areas.__getitem__)[:MOST_CURVES]:
        fpr, tpr = curves[label]
        # The name last: a legend leaves out what begins with an underscore.
        axes.plot(fpr, tpr, label=f"{areas[label]:.3f}  {shorten_name(label)}")
    axes.plot((0, 1), (0, 1), linestyle=":", color="grey", label="chance")
    axes.set(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC, one against the rest"
    )
    axes.legend(title="area" if len(curves) <= MOST_CURVES else f"{MOST_CURVES} smallest areas")
    return figure


def plot_loss_curve(history: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Plot losses by step, a line for each name in `history`."""
    figure, axes = _new_figure()
    for name, points in history.items():
        steps, losses = [step for step, _ in points], [loss for _, loss in points]
        axes.plot(steps, losses, marker=".", label=name)
    axes.set(xlabel="step", ylabel="cross-entropy", title="Loss")
    axes.legend()
    return figure


def plot_reliability(series: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """Plot the share of right rows by score, a line for each name in `series`.

    Args:
        series: Mean score, share of right rows and number of rows of bins, by name.
    """
    figure, axes = _new_figure()
    for name, bins in series.items():
        scores, shares = [found[0] for found in bins], [found[1] for found in bins]
        axes.plot(scores, shares, marker=".", label=name)
    axes.plot((0, 1), (0, 1), linestyle=":", color="grey", label="calibrated")
    axes.set(xlabel="prediction score", ylabel="share of right rows", title="Reliability")
    axes.legend()
    return figure


def _new_figure(*, larger_by: float = 0.0) -> tuple[Figure, Axes]:
    figure = Figure((6.0 + larger_by, 4.5 + larger_by), layout="constrained")  # inches
    return figure, figure.subplots()
