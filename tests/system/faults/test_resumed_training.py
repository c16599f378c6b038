"""A training that is killed goes on from its last checkpoint."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.common.settings import REPOSITORY
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import TRAINING_EXPERIMENT
from tests.support.builders import use_home
from tests.support.resumable import fine_tune

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kills", "new_database")]


@contextmanager
def _begun(home: Path, data: Path, base: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the training in a process of its own, which is killed at the end of the block."""
    # The test's own process may have connected to another database.
    environment = {name: os.environ[name] for name in os.environ if name != "MLFLOW_TRACKING_URI"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.resumable", str(data), str(base), "10"],
        cwd=REPOSITORY,
        env=environment | {"MILLSTREAM_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for_checkpoint(home: Path, process: subprocess.Popen[bytes], count: int = 1) -> None:
    deadline = time.monotonic() + 120
    while len(list(home.glob("checkpoints/*/checkpoint-*/trainer_state.json"))) < count:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.01)


def test_a_killed_training_continues_from_its_last_checkpoint_in_the_same_run(
    home: Path,
    labelled_csv: Path,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other_home = Path(shutil.copytree(home, tmp_path / "uninterrupted"))
    with _begun(home, labelled_csv, tiny_base) as process:
        _wait_for_checkpoint(home, process)
    half_written = next(home.glob("checkpoints/*/")) / "checkpoint-9999"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"cut off")

    run_id = fine_tune(labelled_csv, tiny_base)

    runs = connect().search_runs([ensure_experiment(TRAINING_EXPERIMENT)])
    assert [run.info.run_id for run in runs] == [run_id]
    assert runs[0].data.tags["resumed_from"].startswith("checkpoint-")
    assert runs[0].data.tags["resumed_from"] != "checkpoint-9999"
    assert runs[0].info.status == "FINISHED"
    assert not list(home.glob("checkpoints/*/"))

    # The way is the one of a training that was not killed.
    resumed = _losses(run_id)
    use_home(other_home, monkeypatch)
    assert resumed == pytest.approx(_losses(fine_tune(labelled_csv, tiny_base)), rel=1e-3)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_with_any_checkpoint_steps(
    home: Path, labelled_csv: Path, tiny_base: Path
) -> None:
    with _begun(home, labelled_csv, tiny_base) as process:
        _wait_for_checkpoint(home, process, count=2)
    steps = [int(path.name.partition("-")[2]) for path in home.glob("checkpoints/*/checkpoint-*")]
    *_, before, last = sorted(steps)
    (weights,) = home.glob(f"checkpoints/*/checkpoint-{last}/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1_000])

    run_id = fine_tune(labelled_csv, tiny_base, checkpoint_steps=7)

    (run,) = connect().search_runs([ensure_experiment(TRAINING_EXPERIMENT)])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert run.data.tags["resumed_from"] == f"checkpoint-{before}"
    assert run.data.tags["dropped_checkpoints"] == f'["checkpoint-{last}"]'
    assert run.data.params["checkpoint_steps"] == "10"
    assert run.data.tags["resumed_with"] == '{"checkpoint_steps": 7}'


def _losses(run_id: str) -> list[float]:
    history = connect().get_metric_history(run_id, "train_loss")
    return list({point.step: point.value for point in history}.values())
