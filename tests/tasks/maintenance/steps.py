"""What the tests of the clean-up do to a state folder, and what they see in it."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.score_shards import score_shards
from tasks.building import packaging
from tasks.common.settings import get_settings
from tasks.composition.types import PipelineParameters, PipelinePlan
from tasks.maintenance import orphaned_files, stale_outputs, stale_versions
from tasks.maintenance.cleanup_report import summarise_cleanup
from tasks.maintenance.types import CleanupResult, LeftoverKind, Limits
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL as FINETUNED
from tasks.tracking.names import PIPELINE_MODEL as PIPELINE
from tasks.tracking.names import RegisteredModel

P1, P2, P3 = (f"models:/{PIPELINE}/{number}" for number in (1, 2, 3))
F1, F2, F3 = (f"models:/{FINETUNED}/{number}" for number in (1, 2, 3))
STEPS = ["download_data", "split_data", "fine_tuning_model", "register_model"]
QUICK: dict[str, Any] = {"steps": STEPS, "sample_size": 64}


def build(finetuned: str, max_tokens: int = 0) -> RegisteredModel:
    """Log and register a pipeline without its check, which takes a process of its own."""
    number = int(finetuned.rpartition("/")[2])
    parameters = PipelineParameters(max_tokens=max_tokens)
    logged = packaging.log_pipeline(
        PipelinePlan.of(RegisteredModel(name=FINETUNED, version=number), parameters)
    )
    tags = packaging.version_tags(logged)
    return registry.register_version(PIPELINE, logged.model_uri, run_id=logged.run_id, tags=tags)


def score(output: Path, text: str = "a great film", **parameters: Any) -> Path:
    rows = output.parent / f"{output.name}-rows.csv"
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text(f"text\n{text}\n")
    score_shards([str(rows)], str(output), **parameters)
    return output


def shard_of(output: Path) -> str:
    (record,) = (output / "records").iterdir()
    return record.stem


def make_old(folder: Path, days: float = 100) -> Path:
    then = time.time() - days * 86_400
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)
    return folder


def make_checkpoints(home: Path, key: str, run_id: str = "") -> Path:
    folder = home / "checkpoints" / key
    (folder / "checkpoint-5").mkdir(parents=True)
    (folder / "checkpoint-5" / "model.safetensors").write_bytes(b"0" * 5_000)
    if run_id:
        (folder / "mlflow-run-id").write_text(run_id)
    folder.with_suffix(".lock").touch()
    return make_old(folder)


def bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file but MLflow's, Prefect's and the locks."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("mlflow.") and "prefect" not in path.parts
    }


def names(report: dict[str, Any]) -> set[str]:
    return {leftover["name"] for leftover in report["leftovers"]}


def versions_left() -> set[str]:
    return {f"models:/{v.name}/{v.version}" for v in connect().search_model_versions()}


def cached(model_uri: str) -> int:
    """Return how many answers in the prediction cache name a version."""
    name, number = model_uri.removeprefix("models:/").split("/")
    source = connect().get_model_version(name, number).source
    with closing(sqlite3.connect(get_settings().prediction_cache / "cache.db")) as database:
        query = "SELECT COUNT(*) FROM Cache WHERE instr(value, ?)"
        return int(database.execute(query, (f'"{source}"',)).fetchone()[0])


def clean(*kinds: LeftoverKind, apply: bool = True, **limits: Any) -> dict[str, Any]:
    """Do what the flow does, without its second of overhead."""
    chosen = Limits(apply=apply, **limits)
    outputs = CleanupResult(kind="outputs")
    found = []
    if "outputs" in kinds:
        outputs = stale_outputs.clean_outputs(chosen)
        found.append(outputs)
    if "versions" in kinds:
        found.append(stale_versions.clean_versions(chosen, outputs))
    if "checkpoints" in kinds:
        found.append(orphaned_files.clean_checkpoints(chosen))
    if "downloads" in kinds:
        found.append(orphaned_files.clean_downloads(chosen))
    return summarise_cleanup(found, applied=apply)


def clean_versions(*kinds: LeftoverKind, apply: bool = True, **limits: Any) -> dict[str, Any]:
    strict = {"keep_versions": 0, "older_than_days": 0}
    return clean(*kinds, "versions", apply=apply, **strict | limits)


def clean_outputs(*, apply: bool = True, **limits: Any) -> dict[str, Any]:
    return clean("outputs", apply=apply, **limits)


class Killed(BaseException):
    """In place of a signal."""


@contextmanager
def faulty(owner: object, name: str, fault: Callable[..., None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fault)
        yield


def killed(*_: object, **__: object) -> None:
    raise Killed
