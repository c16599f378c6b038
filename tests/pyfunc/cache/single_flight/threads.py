"""Threads that ask one pipeline, and what of them can be seen."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pyfunc.cache.cache import PredictionCache
from pyfunc.classifier import Classifier
from pyfunc.contract import Answer, Answers, Language, Provenance
from pyfunc.engines.torch import TorchEngine
from pyfunc.pipeline import InferencePipeline
from pyfunc.tokens import Tokens

PROVENANCE = Provenance("models:/f/1", "models:/m-1")

THREADS = 12

PATIENCE = 30.0  # seconds


class CountingClassifier(Classifier):
    """Counts how often it predicts each text; may be held up, and may fail once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, TorchEngine(folder, "f32"), max_tokens=16)
        self.predicted: Counter[str] = Counter()
        self.before: Callable[[], None] = lambda: None
        self._counting = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        with self._counting:
            self.predicted.update(texts)
        self.before()
        return super().encode(texts)


class WatchedCache(PredictionCache):
    """Says when threads that own no claim have come past the look-up, on their way to wait."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "f")
        self.waiting = threading.Semaphore(0)

    def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
        texts = list(texts)
        if not texts:
            self.waiting.release()
        return super().get_many(texts)


def ask(
    pipeline: InferencePipeline,
    texts: Sequence[str],
    refuse: Callable[[Language], str] | None = None,
) -> Answers:
    return pipeline.answer(texts, use_cache=True, batch_tokens=1_024, refuse=refuse)


def sources(answers: Answers) -> list[str]:
    return [outcome.source for outcome in answers.outcomes]


def claimed(pipeline: InferencePipeline) -> Mapping[str, object]:
    return pipeline._in_flight._claimed


def wait_for(cache: WatchedCache, others: int) -> None:
    for _ in range(others):
        assert cache.waiting.acquire(timeout=PATIENCE)
