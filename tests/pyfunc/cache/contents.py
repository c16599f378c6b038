"""What is in the caches of the tests, and how it is looked at."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pyfunc.cache.cache import PredictionCache
from pyfunc.contract import Answer, Language, Prediction, Provenance
from tasks.common.settings import REPOSITORY

TEXTS = ["Great movie", "what a disappointing movie", "很好看的电影"]

PROVENANCE = Provenance("models:/dl_finetuned_model/3", "models:/m-1")
ANSWER = Answer(Prediction("positive", 0.97, False), Language("en", True, 0.9), PROVENANCE)

CHILD = f"""
import logging, os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from pyfunc.cache.cache import PredictionCache
from pyfunc.contract import Answer, Language, Prediction, Provenance
logging.basicConfig(format="%(levelname)s")
answer = Answer(
    Prediction("positive", 0.97, False), Language("en", True, 0.9), Provenance("f", "m")
)
folder = Path(sys.argv[1])
"""

Ask = Callable[[PredictionCache], list[dict[str, Any]]]


def database(folder: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(folder / "cache.db", isolation_level=None))


def cached(documents: list[dict[str, Any]]) -> list[bool]:
    return [document["metadata"]["cached"] for document in documents]


def filled(folder: Path, ask: Ask) -> None:
    cache = PredictionCache(folder, "f")
    ask(cache)
    assert len(cache.get_many(TEXTS)) == len(TEXTS)
    cache.close()
