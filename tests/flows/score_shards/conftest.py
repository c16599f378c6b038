"""What the runs of scoring read."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tasks.composition.types import PipelineParameters
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import Trained, plan_of


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three shards of ten rows: eight texts, of which two repeat, one null and one empty."""
    folder = tmp_path / "in"
    folder.mkdir()
    for shard in range(3):
        texts: list[str | None] = [f"{tmp_path} {shard} film {row % 6}" for row in range(8)]
        table = pd.DataFrame({"id": range(10), "text": [*texts, None, ""]})
        table.to_parquet(folder / f"part-{shard}.parquet")
    return folder


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
