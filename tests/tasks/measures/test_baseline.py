"""The linear model that a fine-tuned one has to beat."""

import time

import pytest

from tasks.measures.baseline import baseline_accuracy


def test_words_that_decide_are_learnt() -> None:
    texts = [f"{'an awful' if row % 2 else 'a great'} film, {row}" for row in range(40)]
    labels = ["bad" if row % 2 else "good" for row in range(40)]
    test = ["an awful evening", "a great evening", "a great night"]
    assert baseline_accuracy(texts, labels, test, ["bad", "good", "bad"]) == pytest.approx(2 / 3)


def test_many_labels_take_seconds() -> None:
    texts = [f"word{row % 500} of {row}" for row in range(2_000)]
    labels = [str(row % 500) for row in range(2_000)]
    started = time.monotonic()
    assert baseline_accuracy(texts, labels, texts[:100], labels[:100]) > 0.9
    assert time.monotonic() - started < 60


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(ValueError, match="empty vocabulary"):
        baseline_accuracy(["!", "?"], ["a", "b"], ["!"], ["a"])
