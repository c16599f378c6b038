"""The pictures of an evaluation. Figures are made without pyplot, whose state is global."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]  # x, y

_SIZE = (6.0, 4.5)  # inches


def confusion_matrix(counts: pd.DataFrame) -> Figure:
    """Return a picture of counts: rows are the true labels, columns the predicted ones."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts, cmap="Blues")
    figure.colorbar(image, label="rows")
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    axes.set_xticks(range(len(counts.columns)), counts.columns, rotation=30, ha="right")
    axes.set_yticks(range(len(counts.index)), counts.index)
    middle = counts.to_numpy().max() / 2
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        color = "white" if count > middle else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    return figure


def roc_curves(curves: Mapping[str, Curve]) -> Figure:
    """Return a picture of one curve a label against the rest.

    Args:
        curves: False and true positive rates by label.
    """
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    for label, (false_positives, true_positives) in curves.items():
        axes.plot(false_positives, true_positives, label=label)
    axes.plot((0, 1), (0, 1), linestyle=":", color="grey", label="chance")
    axes.set(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC, one against the rest"
    )
    axes.legend()
    return figure


def loss_curve(history: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Return a picture of losses by step, a line for each name in `history`."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    for name, points in history.items():
        steps = [step for step, _ in points]
        axes.plot(steps, [loss for _, loss in points], marker=".", label=name)
    axes.set(xlabel="step", ylabel="cross-entropy", title="Loss")
    axes.legend()
    return figure
