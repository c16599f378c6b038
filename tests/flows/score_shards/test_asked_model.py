"""One version answers a whole run, and what cannot be used is named before any work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from flows.score_shards import score_shards
from tasks.common.errors import DataError, ModelError, ParameterError
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tasks.tracking.pipeline_loader import load_typed_pipeline
from tests.flows.score_shards.log_lines import on_log
from tests.support.builders import Trained


@contextmanager
def version_tagged(trained: Trained, **tags: str) -> Iterator[ModelVersion]:
    """Register the pipeline once more under other tags, for a while."""
    client = connect()
    name, number = trained.pipeline["inference_pipeline_model"].removeprefix("models:/").split("/")
    first = client.get_model_version(name, number)
    source = str(first.source)
    version = client.create_model_version(
        name,
        source=source,
        run_id=first.run_id,
        tags=first.tags | tags,
        model_id=source.removeprefix("models:/"),
    )
    try:
        yield version
    finally:
        client.delete_model_version(name, version.version)


@contextmanager
def champion_back(client: MlflowClient) -> Iterator[None]:
    version = client.get_model_version_by_alias(PIPELINE_MODEL, "champion").version
    try:
        yield
    finally:
        client.set_registered_model_alias(PIPELINE_MODEL, "champion", version)


def test_alias_that_moves_during_a_run_does_not_mix_versions(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    client = connect()

    def take_away_alias() -> None:
        client.delete_registered_model_alias(PIPELINE_MODEL, "champion")

    with champion_back(client):
        with on_log("tasks.staging.publishing", "rows scored", take_away_alias) as scored:
            summary = score_shards([str(inputs)], str(tmp_path / "out"), workers=1)
        with pytest.raises(ParameterError, match="no version 'champion'"):
            score_shards([str(inputs)], str(tmp_path / "out"))
    assert len(scored) == 3
    assert summary["shards_done"] == 3
    uris = pd.read_parquet(tmp_path / "out" / "predictions")["inference_pipeline_model_uri"]
    assert uris.nunique() == 1


def test_plain_pipeline_cannot_score(trained: Trained, inputs: Path, tmp_path: Path) -> None:
    with version_tagged(trained, kind="plain") as version:
        uri = f"models:/{version.name}/{version.version}"
        with pytest.raises(ModelError, match=f"{uri} is no full inference pipeline"):
            score_shards([str(inputs)], str(tmp_path / "out"), model_uri=uri)
    assert not (tmp_path / "out").exists()


def test_version_of_earlier_code_is_refused_where_all_scores_are_asked_for(
    trained: Trained, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = trained.pipeline["inference_pipeline_model"]
    monkeypatch.setattr(type(load_typed_pipeline(uri)), "offers_all_scores", False)
    command = f"--finetuned-model {trained.training['finetuned_model']}"
    with pytest.raises(ModelError, match=f"{uri}: was built without all_scores; .*{command}"):
        score_shards([str(inputs)], str(tmp_path / "out"), all_scores=True)
    assert not [*(tmp_path / "out").rglob("*.parquet")]


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"inputs": []}, ParameterError, "inputs: none given"),
        ({"inputs": ["none.csv"]}, DataError, "inputs: 'none.csv' brings no file"),
        ({"output_dir": ""}, ParameterError, "output_dir: missing; expected a folder"),
        ({"output_dir": "/dev/null/out"}, ParameterError, "output_dir: /dev/null is a file"),
        ({"language_policy": "reject"}, ParameterError, "languages: none given; language_policy"),
        ({"languages": ["english"]}, ParameterError, r"languages: \['english'\]; expected codes"),
        ({"model_uri": "a/b"}, ParameterError, "model_uri: 'a/b'; expected a number, an alias"),
        (
            {"model_uri": "models:/none/1"},
            ParameterError,
            "model_uri: none: no version '1'; nothing is registered",
        ),
    ],
)
def test_parameter_that_cannot_be_used_is_named_before_any_work(
    trained: Trained,
    inputs: Path,
    tmp_path: Path,
    parameters: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    given: dict[str, Any] = {"inputs": [str(inputs)], "output_dir": str(tmp_path / "out")}
    with pytest.raises(error, match=f"^{message}"):
        score_shards.fn(**given | parameters)
    assert not (tmp_path / "out").exists()
