"""Evaluation plots as matplotlib figures: confusion matrix, ROC curves, loss curve.

Figures are not made by pyplot, whose state is global: tasks run in threads. scikit-learn is
imported by the functions, since reports of scoring import this module and do not need it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]  # x, y


def plot_confusion_matrix(counts: pd.DataFrame) -> Figure:
    """Plot counts; rows are the true labels, columns the predicted ones."""
    from sklearn.metrics import ConfusionMatrixDisplay

    figure, axes = _new_figure()
    display = ConfusionMatrixDisplay(counts.to_numpy())
    # The default format writes 100000 as 1e+05.
    display.plot(ax=axes, cmap="Blues", values_format="d", colorbar=False)
    figure.colorbar(display.im_, label="rows")
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    axes.set_xticks(axes.get_xticks(), counts.columns, rotation=30, ha="right")
    axes.set_yticks(axes.get_yticks(), counts.index)
    return figure


def plot_roc_curves(curves: Mapping[str, Curve]) -> Figure:
    """Plot one ROC curve a label, against the rest.

    Args:
        curves: False and true positive rates by label.
    """
    from sklearn.metrics import RocCurveDisplay

    figure, axes = _new_figure()
    for label, (fpr, tpr) in curves.items():
        RocCurveDisplay(fpr=np.array(fpr), tpr=np.array(tpr), name=label).plot(axes)
    axes.plot((0, 1), (0, 1), linestyle=":", color="grey", label="chance")
    axes.set(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC, one against the rest"
    )
    axes.legend()
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


def _new_figure() -> tuple[Figure, Axes]:
    figure = Figure((6.0, 4.5), layout="constrained")  # inches
    return figure, figure.subplots()
