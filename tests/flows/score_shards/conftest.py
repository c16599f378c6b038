"""What the runs of scoring read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from flows.score_shards import score_shards
from tasks.common.settings import get_settings
from tasks.composition.types import PipelineParameters
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import Trained, plan_of, use_home


def _write_inputs(folder: Path) -> Path:
    """Write three shards of ten rows: eight texts, of which two repeat, one null and one empty."""
    folder.mkdir(parents=True)
    for shard in range(3):
        texts: list[str | None] = [f"{folder} {shard} film {row % 6}" for row in range(8)]
        table = pd.DataFrame({"id": range(10), "text": [*texts, None, ""]})
        table.to_parquet(folder / f"part-{shard}.parquet")
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three shards of ten rows: eight texts, of which two repeat, one null and one empty."""
    return _write_inputs(tmp_path / "in")


@pytest.fixture(scope="module")
def _scored(_trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    inputs = _write_inputs(folder / "now" / "in")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(_trained_once.home, monkeypatch)
        score_shards([str(inputs)], str(folder / "now" / "out"))
    get_settings.cache_clear()
    shutil.copytree(folder / "now", folder / "done")
    return folder


@pytest.fixture
def scored(trained: Trained, _scored: Path) -> tuple[Path, Path]:
    """Three shards as `inputs`, and the folder that a run has just scored them into."""
    now = _scored / "now"
    shutil.rmtree(now)
    shutil.copytree(_scored / "done", now, symlinks=True)
    return now / "in", now / "out"


@pytest.fixture
def version_with_fasttext(trained: Trained) -> Iterator[str]:
    """The URI of a version with another detector, registered for a while."""
    from tasks.building.packaging import log_pipeline, version_tags

    parameters = PipelineParameters(engine="torch", precision="f32", detector="fasttext")
    logged = log_pipeline(plan_of(trained, parameters))
    version = connect().create_model_version(
        PIPELINE_MODEL,
        source=logged.model_uri,
        run_id=logged.run_id,
        tags=version_tags(logged),
        model_id=logged.model_uri.removeprefix("models:/"),
    )
    yield f"models:/{PIPELINE_MODEL}/{version.version}"
    connect().delete_model_version(PIPELINE_MODEL, version.version)
