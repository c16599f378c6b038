from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.prune_cache import prune_cache
from pyfunc.cache.cache import PredictionCache
from pyfunc.cache.contents import entries_by_fingerprint
from pyfunc.contract import Answer, Language, Prediction, Provenance
from tasks.common.errors import DataError, ModelError, ParameterError
from tasks.common.settings import get_settings
from tasks.maintenance.cache_pruning import prune_cache_entries
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import Trained

ANSWER = Answer(Prediction("positive", 0.9, False), Language("en", True, 0.9), Provenance("f", "p"))


@pytest.fixture
def cache(trained: Trained, tmp_path: Path) -> Path:
    """A cache with 10 entries of the champion and 20 of a pipeline that is gone."""
    folder = get_settings().prediction_cache
    prune_cache_entries([], dry_run=False)  # what other tests left
    for fingerprint, entries in ((fingerprint_of(trained), 10), ("gone", 20)):
        store = PredictionCache(folder, fingerprint)
        store.store_many({f"{tmp_path} {row}": ANSWER for row in range(entries)})
        store.close()
    return folder


def fingerprint_of(trained: Trained) -> str:
    return resolve_scoring_model(trained.pipeline["inference_pipeline_model"]).fingerprint


@contextmanager
def no_alias() -> Iterator[None]:
    client = connect()
    version = client.get_model_version_by_alias(PIPELINE_MODEL, "champion").version
    client.delete_registered_model_alias(PIPELINE_MODEL, "champion")
    try:
        yield
    finally:
        client.set_registered_model_alias(PIPELINE_MODEL, "champion", version)


def test_dry_run_tells_what_is_superseded_and_the_run_drops_just_that(
    trained: Trained, cache: Path
) -> None:
    champion = fingerprint_of(trained)
    before = entries_by_fingerprint(cache)
    told = prune_cache(dry_run=True)
    assert entries_by_fingerprint(cache) == before
    assert told["superseded_entries"] == 20
    assert told["superseded_bytes"] == before["gone"].bytes > 0
    assert (told["superseded_pipelines"], told["dropped_entries"]) == (1, 0)
    kept = {
        fingerprint: entries for fingerprint, entries in before.items() if fingerprint != "gone"
    }
    assert told["kept_entries"] == sum(entries.count for entries in kept.values())
    assert kept[champion].count >= 10
    done = prune_cache()
    assert done["dropped_entries"] == 20
    assert entries_by_fingerprint(cache) == kept
    assert prune_cache()["dropped_entries"] == 0


def test_versions_to_keep_may_be_named(trained: Trained, cache: Path) -> None:
    with no_alias():
        told = prune_cache_entries(["1"], dry_run=True)
        assert told["superseded_entries"] == 20
        assert 1 in told["kept_versions"]
        assert prune_cache_entries([], dry_run=True)["superseded_pipelines"] == 2


def test_version_that_is_not_there_is_named_before_anything_is_dropped(
    trained: Trained, cache: Path
) -> None:
    before = entries_by_fingerprint(cache)
    with pytest.raises(ParameterError, match=f"^keep: {PIPELINE_MODEL}: no version '99'"):
        prune_cache_entries(["99"], dry_run=False)
    assert entries_by_fingerprint(cache) == before


def test_cache_that_cannot_be_read_is_named(trained: Trained, cache: Path) -> None:
    content = (cache / "cache.db").read_bytes()
    try:
        for path in cache.iterdir():
            path.unlink()
        (cache / "cache.db").write_bytes(b"noise" * 5_000)
        with pytest.raises(DataError, match=str(cache)):
            prune_cache_entries([], dry_run=False)
    finally:
        (cache / "cache.db").write_bytes(content)


@pytest.mark.usefixtures("new_database")
def test_without_a_registered_pipeline_nothing_is_dropped() -> None:
    with pytest.raises(ModelError, match=f"{PIPELINE_MODEL}: nothing is registered"):
        prune_cache_entries([], dry_run=False)
