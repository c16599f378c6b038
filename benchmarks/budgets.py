"""Throughput by token budget of a batch, from which the default is chosen."""

from pathlib import Path

from tqdm import tqdm

from benchmarks.engines import Engines
from benchmarks.measured import Budgets
from benchmarks.plan import MAX_TOKENS, Kind
from benchmarks.timing import timed
from pyfunc.classifier import Classifier

_WARM_UP_ROWS = 16


def sweep(
    kind: Kind, texts: list[str], member: Path, engines: Engines, budgets: tuple[int, ...]
) -> Budgets:
    """Time every engine at every budget, budget by budget.

    Args:
        kind: The kind of the texts.
        texts: The texts.
        member: Folder of the pipeline's only member.
        engines: Ours.
        budgets: Maximum padded tokens of a batch.
    """
    classifiers = {
        name: Classifier(member / "classifier", engine, max_tokens=MAX_TOKENS[kind])
        for name, engine in engines.opened.items()
    }
    found: dict[str, dict[int, float]] = {name: {} for name in classifiers}
    with tqdm(total=len(budgets) * len(classifiers), desc="budgets", disable=None) as bar:
        for budget in budgets:
            for name, classifier in classifiers.items():
                found[name][budget] = _rows_per_second(classifier, texts, budget)
                bar.update()
    return Budgets(kind=kind, rows=len(texts), rows_per_second=found)


def _rows_per_second(classifier: Classifier, texts: list[str], budget: int) -> float:
    classifier.predict(texts[:_WARM_UP_ROWS], budget)
    _, seconds = timed(lambda: classifier.predict(texts, budget))
    return len(texts) / seconds
