import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterTimestamp
from prefect.client.schemas.sorting import ArtifactSort

from flows.score_shards import score_shards
from tasks.errors import DataError, ModelError, ParameterError, ShardsFailedError
from tasks.pipelines import REGISTERED_NAME
from tasks.scoring import ScoringParameters, Shard, ShardResult, score_in_parallel
from tasks.tracking import connect
from tests.builders import Trained

SECRET = "the-text-of-a-row"


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


@contextmanager
def on_log(logger: str, words: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """Act once, when a line with these words is logged; yield the lines that have them."""
    lines: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                lines.append(record.getMessage())
                if len(lines) == 1:
                    act()

    handler = Watch()
    logging.getLogger(logger).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(logger).removeHandler(handler)


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
    version = client.get_model_version_by_alias(REGISTERED_NAME, "champion").version
    try:
        yield
    finally:
        client.set_registered_model_alias(REGISTERED_NAME, "champion", version)


# A run


def test_run_answers_every_row_once_and_says_so_everywhere(
    trained: Trained, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A name that Rich would read as markup.
    folder = tmp_path / "[bold] out [/red]"
    summary = score_shards(inputs=[str(inputs)], output_dir=str(folder), workers=2)
    counted = {
        "rows_in": 30,
        "scored": 24,
        "rejected": 6,
        "cache_hits": 6,
        "model_calls": 18,
        "shards_total": 3,
        "shards_done": 3,
        "shards_skipped": 0,
        "shards_failed": 0,
    }
    assert summary.items() >= counted.items()
    assert summary["model_uri"] == trained.pipeline["inference_pipeline_model"]
    assert sum(summary["labels"].values()) == sum(summary["languages"].values()) == 24
    assert summary["failures"] == {}

    predictions = pd.read_parquet(folder / "predictions")
    rejected = pd.read_parquet(folder / "rejected")
    assert (len(predictions), len(rejected)) == (24, 6)
    assert predictions["cached"].sum() == 6
    assert sorted(predictions["id"]) == sorted([*range(8)] * 3)
    assert (predictions["row"] == predictions["id"] + 1).all()
    assert sorted(rejected["reason"]) == ["empty"] * 3 + ["null"] * 3
    assert predictions["shard"].nunique() == rejected["shard"].nunique() == 3
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert files == {f"{shard}.parquet" for shard in set(predictions["shard"])} | {"manifest.json"}

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["summary"] == json.loads(json.dumps(summary))
    assert [shard["rows_in"] for shard in manifest["shards"]] == [10, 10, 10]
    assert manifest["parameters"]["model_uri"] == summary["model_uri"]

    shown = capsys.readouterr().out
    assert "Scored shards" in shown
    assert "[/red]" in "".join(shown.split())

    with get_client(sync_client=True) as client:
        (artifact, *_) = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=1)
    assert artifact.key == "scoring-summary"
    assert "| rows in | 30 |" in str(artifact.data)


def test_second_run_computes_nothing_and_a_run_without_the_cache_everything(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    def calls(**parameters: Any) -> tuple[int, int]:
        summary = score_shards([str(inputs)], str(tmp_path / "out"), **parameters)
        return summary["model_calls"], summary["cache_hits"]

    assert calls(use_cache=False) == (24, 0)
    assert calls(workers=1) == (18, 6)
    assert calls(workers=3, batch_tokens=16) == (0, 24)
    predictions = pd.read_parquet(tmp_path / "out" / "predictions")
    assert len(predictions) == 24
    assert predictions["cached"].all()


# Shards that fail


def test_broken_shard_fails_alone_and_the_run_after_the_others(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    broken = inputs / "part-1.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(ShardsFailedError) as raised:
        score_shards(inputs=[str(inputs)], output_dir=str(tmp_path / "out"))
    message = str(raised.value)
    assert message.startswith("1 of 3 shards failed; the first, part-1-")
    assert f"{broken}: expected a PARQUET table" in message
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    summary = manifest["summary"]
    assert (summary["shards_done"], summary["shards_failed"]) == (2, 1)
    assert summary["rows_in"] == summary["scored"] + summary["rejected"] == 20
    errors = {Path(shard["path"]).name: shard["error"] for shard in manifest["shards"]}
    assert errors.pop("part-1.parquet").startswith(f"{broken}: ")
    assert errors == {"part-0.parquet": None, "part-2.parquet": None}
    published = {path.name[:6] for path in (tmp_path / "out").rglob("*.parquet")}
    assert published == {"part-0", "part-2"}


@flow(name="score-listed-shards")
def score_listed(
    shards: tuple[Shard, ...], parameters: ScoringParameters
) -> tuple[ShardResult, ...]:
    return score_in_parallel(shards, parameters, workers=2)


def test_shard_that_comes_late_is_retried_alone(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    parameters = ScoringParameters(
        model_uri=trained.pipeline["inference_pipeline_model"], output_dir=tmp_path / "out"
    )
    shards = tuple(Shard(id=f"s{n}", path=inputs / f"part-{n}.parquet") for n in range(3))
    away = shards[1].path.rename(tmp_path / "away")

    def bring_back() -> None:
        away.rename(shards[1].path)

    with on_log("prefect.task_runs", "Retry 1/2 will start", bring_back) as retries:
        results = score_listed(shards, parameters)
    assert len(retries) == 1
    assert [(result.id, result.rows_in, result.error) for result in results] == [
        ("s0", 10, None),
        ("s1", 10, None),
        ("s2", 10, None),
    ]
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 3


# The model


def test_alias_that_moves_during_a_run_does_not_mix_versions(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    client = connect()

    def take_away_alias() -> None:
        client.delete_registered_model_alias(REGISTERED_NAME, "champion")

    with champion_back(client):
        with on_log("tasks.shard_scoring", "rows scored", take_away_alias) as scored:
            summary = score_shards([str(inputs)], str(tmp_path / "out"), workers=1)
        with pytest.raises(ModelError, match="no version 'champion'"):
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


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"inputs": []}, ParameterError, "inputs: none given"),
        ({"inputs": ["none.csv"]}, DataError, "inputs: 'none.csv' brings no file"),
        ({"output_dir": ""}, ParameterError, "output_dir: missing; expected a folder"),
        ({"output_dir": "/dev/null/out"}, ParameterError, "output_dir: /dev/null is a file"),
        ({"model_uri": "champion"}, ParameterError, "model_uri: 'champion'; expected models:/"),
        (
            {"model_uri": "models:/none/1"},
            ModelError,
            "none: no version '1'; nothing is registered",
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


# What is logged and kept


def test_no_text_of_a_row_is_logged_shown_or_kept_by_prefect(
    trained: Trained,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = datetime.now(UTC)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.csv").write_text(f"text\n{SECRET}\n{SECRET} 很好看的电影\n")
    (folder / "wide.csv").write_text(f"text\n{SECRET},{SECRET}\n")
    (folder / "cut.jsonl").write_text(f'{{"text": "{SECRET}\n')
    (folder / "mixed.jsonl").write_text(f'{{"text": "{SECRET}"}}\n{{"text": 1}}\n')
    (folder / "bytes.jsonl").write_bytes(b'{"text": "' + SECRET.encode() + b'\xff"}\n')
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ShardsFailedError, match="4 of 5 shards failed"):
        score_shards([str(folder)], str(tmp_path / "out"))
    shown = capsys.readouterr()
    kept = (tmp_path / "out" / "manifest.json").read_text()
    since = LogFilter(timestamp=LogFilterTimestamp(after_=started))
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=1)
        lines = client.read_logs(since)
    everything = f"{caplog.text}{shown}{kept}{artifacts}{lines}"
    assert "row 1: number of cells 2" in everything
    assert SECRET not in everything
    assert SECRET in str(pq.read_table(next((tmp_path / "out").glob("predictions/good*"))))
