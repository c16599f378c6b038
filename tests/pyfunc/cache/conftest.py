"""A folder for a cache, and a pipeline to ask with it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyfunc.cache.cache import PredictionCache
from pyfunc.classifier import Classifier
from pyfunc.composition.composition import Composition
from pyfunc.detectors.selection import open_detector
from pyfunc.pipeline import InferencePipeline
from tests.pyfunc.cache.contents import PROVENANCE, TEXTS, Ask
from tests.support.builders import ask_pipeline


@pytest.fixture(scope="module")
def ask(classifier: Classifier) -> Ask:
    """Asks a pipeline with a given cache about `TEXTS`."""
    detector = open_detector()
    return lambda cache: ask_pipeline(
        InferencePipeline(Composition.of(classifier, PROVENANCE), detector, cache), TEXTS
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def right(ask: Ask, tmp_path: Path) -> list[dict[str, Any]]:
    """What a pipeline answers whose cache is empty and works."""
    return ask(PredictionCache(tmp_path / "another cache", "f"))


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
