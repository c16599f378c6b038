"""A pipeline that counts what it predicts, with a cache that works and one that does not."""

from pathlib import Path

import pytest

from pyfunc.composition.composition import Composition
from pyfunc.detectors.selection import open_detector
from pyfunc.pipeline import InferencePipeline
from tests.pyfunc.cache.single_flight.threads import PROVENANCE, CountingClassifier, WatchedCache


@pytest.fixture
def classifier(tiny_classifier: Path) -> CountingClassifier:
    return CountingClassifier(tiny_classifier)


@pytest.fixture(params=["working", "broken"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> WatchedCache:
    """A cache that works, and one that cannot be opened."""
    folder = tmp_path / "cache"
    if request.param == "broken":
        folder.write_text("a file")
    return WatchedCache(folder)


@pytest.fixture
def pipeline(classifier: CountingClassifier, cache: WatchedCache) -> InferencePipeline:
    return InferencePipeline(Composition.of(classifier, PROVENANCE), open_detector(), cache)
