"""Members of a pipeline share one pool of callers, and never use more cores than one engine."""

import time
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from threading import Lock

import pytest

from pyfunc.composition.composition import Composition
from pyfunc.composition.members import open_members
from pyfunc.composition.tree import Average
from pyfunc.cpu_quota import usable_cores
from pyfunc.engines.engine import Engine, Logits
from pyfunc.spec import EngineName, MemberSpec, Variant
from pyfunc.tokens import TokenBatch
from tests.support.static_models import write_random_static

TEXTS = [f"a {word} film, number {number}" for number, word in enumerate(("great", "bad") * 8)]


class Calls:
    """How many threads call engines at once.

    Attributes:
        total: Calls so far.
        most: The most of them at one time.
    """

    def __init__(self) -> None:
        self.total = self.most = 0
        self._running = 0
        self._lock = Lock()

    def begin(self) -> None:
        with self._lock:
            self.total += 1
            self._running += 1
            self.most = max(self.most, self._running)

    def end(self) -> None:
        with self._lock:
            self._running -= 1


class Watched:
    """An engine whose calls are counted, and last long enough to meet."""

    def __init__(self, engine: Engine, calls: Calls) -> None:
        self._engine, self._calls = engine, calls
        self.variant, self.device = engine.variant, engine.device
        self.callers, self.streams = engine.callers, engine.streams

    def logits(self, batch: TokenBatch) -> Logits:
        self._calls.begin()
        try:
            time.sleep(0.01)
            return self._engine.logits(batch)
        finally:
            self._calls.end()


@pytest.fixture(scope="module")
def artifact(folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of two members of each engine."""
    artifact = tmp_path_factory.mktemp("artifact")
    for name in ("one", "two"):
        copytree(folders[name], artifact / "members" / f"torch-{name}" / "classifier")
        write_random_static(artifact / "members" / f"static-{name}" / "classifier", TEXTS)
    return artifact


@pytest.mark.parametrize(
    ("engines", "expected"),
    [
        (("static", "static"), usable_cores()),
        (("static", "torch"), 1),
        (("torch", "torch"), 1),
    ],
)
def test_no_more_threads_call_engines_at_once_than_the_fewest_streams_of_one(
    artifact: Path, engines: tuple[EngineName, EngineName], expected: int
) -> None:
    specs = {
        name: MemberSpec(f"models:/f/{name}", f"{engine}-{name}", 16, (Variant(engine, "f32"),))
        for name, engine in zip(("one", "two"), engines, strict=True)
    }
    members, _ = open_members(artifact, specs)
    assert min(member.classifier.engine.streams for member in members.values()) == expected
    calls = Calls()
    for member in members.values():
        member.classifier.engine = Watched(member.classifier.engine, calls)
    composition = Composition(Average(("one", "two"), (1.0, 1.0)), members, "models:/m-1")
    evaluation = composition.evaluation(TEXTS, batch_tokens=1, all_scores=False)
    assert sum(map(len, evaluation.decide(range(len(TEXTS))))) == len(TEXTS)
    assert calls.total == 2 * len(TEXTS)
    assert calls.most == expected
