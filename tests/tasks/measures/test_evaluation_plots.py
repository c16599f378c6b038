"""Plots of any labels, and of many."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from tasks.measures.evaluation_plots import (
    MOST_CURVES,
    MOST_LABELS,
    Curve,
    draw_png,
    most_confused,
    plot_confusion_matrix,
    plot_roc_curves,
)
from tasks.pages.plots import draw_plot, plot_shares

HOSTILE = (
    r"$\frac{$",  # no mathematics
    "$5 off$",
    "a_b^c\\",
    "two\nlines",
    "_first",
    "مرحبا",
    "很好",  # no glyph in matplotlib's font
    "\u202eright to left",
    "\x0bcontrol",
    "long " * 20,
    "%s {0}",
    "<b>&amp;",
)


def confusion(labels: tuple[str, ...]) -> pd.DataFrame:
    """Return a matrix in which one row of each label is taken for the next label."""
    cells = 3 * np.eye(len(labels), dtype=int) + np.roll(np.eye(len(labels), dtype=int), 1, axis=1)
    return pd.DataFrame(cells, index=list(labels), columns=list(labels))


def curves_of(labels: tuple[str, ...]) -> dict[str, Curve]:
    return dict.fromkeys(labels, ((0, 0.5, 1), (0, 0.7, 1)))


def shares_of(labels: tuple[str, ...]) -> Mapping[str, Mapping[str, int]]:
    return {"this run": dict.fromkeys(labels, 3), "previous run": dict.fromkeys(labels, 4)}


PLOTS: tuple[tuple[Callable[[Any], Figure], Callable[[tuple[str, ...]], Any]], ...] = (
    (plot_confusion_matrix, confusion),
    (plot_roc_curves, curves_of),
    (plot_shares, shares_of),
)


@pytest.mark.parametrize("label", HOSTILE)
@pytest.mark.parametrize(("plot", "data_of"), PLOTS)
def test_any_label_is_drawn_as_it_is_written(
    plot: Callable[[Any], Figure], data_of: Callable[[tuple[str, ...]], Any], label: str
) -> None:
    data = data_of((label, "other"))
    assert draw_png(plot, data).startswith(b"\x89PNG")
    drawn = draw_plot("any", "Any", "…", plot, data)
    assert drawn.error == ""
    assert "other" in drawn.svg
    if label == "$5 off$":
        assert "$5 off$" in drawn.svg


@settings(max_examples=10)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=3, unique=True))
def test_whatever_unicode_has_is_drawn(labels: list[str]) -> None:
    for plot, data_of in PLOTS[:2]:
        data = data_of(tuple(labels))
        assert draw_png(plot, data)
        assert draw_plot("any", "Any", "…", plot, data).error == ""


def test_pictures_of_many_labels_stay_small() -> None:
    labels = tuple(f"intent_{number:03}" for number in range(300))
    matrix = draw_plot("confusion", "Confusion", "…", plot_confusion_matrix, confusion(labels))
    roc = draw_plot("roc", "ROC", "…", plot_roc_curves, curves_of(labels))
    assert len(re.findall("<text", matrix.svg)) < MOST_LABELS**2 + 3 * MOST_LABELS
    assert len(matrix.svg) < 500_000
    assert len(re.findall("intent_", roc.svg)) == MOST_CURVES


def test_the_labels_that_are_shown_are_those_with_most_wrong_rows_in_their_order() -> None:
    matrix = confusion(tuple(f"label {number:02}" for number in range(50)))
    matrix.iloc[40, 3] = 9
    shown = most_confused(matrix)
    assert shown.shape == (MOST_LABELS, MOST_LABELS)
    assert {"label 03", "label 40"} <= set(shown.index)
    assert list(shown.index) == list(shown.columns) == sorted(shown.index)
    assert most_confused(matrix.iloc[:24, :24]).equals(matrix.iloc[:24, :24])


def test_the_curves_that_are_shown_are_those_of_the_smallest_area() -> None:
    curves = curves_of(tuple(f"good {number}" for number in range(20)))
    curves["bad"] = ((0, 0.7, 1), (0, 0.1, 1))
    assert "bad" in draw_plot("roc", "ROC", "…", plot_roc_curves, curves).svg


def test_a_plot_that_fails_is_a_note_in_its_place() -> None:
    def fails(_: object) -> Figure:
        raise ValueError("the label of a row")

    drawn = draw_plot("roc", "ROC", "…", fails, None)
    assert drawn.svg == ""
    assert re.fullmatch(
        r"ROC: not drawn \(ValueError, line \d+ of tasks/pages/plots\.py\)", drawn.error
    )
