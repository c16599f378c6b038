"""A training that is killed goes on from its last checkpoint."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.common.settings import REPOSITORY
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import TRAINING_EXPERIMENT

pytestmark = pytest.mark.usefixtures("new_database")

# No engine: what is killed and what goes on is the plain function.
SCRIPT = """
import sys
from pathlib import Path
import flows
from tasks.dataset.prefect_tasks import LabelledData, split_data
from tasks.training.prefect_tasks import fine_tune_model
from tasks.training.types import FineTuneParameters

data, base = Path(sys.argv[1]), sys.argv[2]
split = split_data.fn((data,), LabelledData(source=str(data)))
parameters = FineTuneParameters(
    base_model=base, epochs=12, min_steps=0, sample_size=0, max_tokens=32,
    checkpoint_steps=int(sys.argv[3]),
)
print(fine_tune_model.fn(split, parameters, reuse=True).run_id)
"""


def _start(
    home: Path, data: Path, base: Path, *, checkpoint_steps: int = 10
) -> subprocess.Popen[str]:
    # The test's own process may have connected to another database.
    environment = {name: os.environ[name] for name in os.environ if name != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(data), str(base), str(checkpoint_steps)],
        cwd=REPOSITORY,
        env=environment | {"MILLSTREAM_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _wait_for_checkpoint(home: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    deadline = time.monotonic() + 120
    while len(list(home.glob("checkpoints/*/checkpoint-*/trainer_state.json"))) < count:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_training_continues_from_its_last_checkpoint_in_the_same_run(
    home: Path, labelled_csv: Path, tiny_base: Path, tmp_path: Path
) -> None:
    process = _start(home, labelled_csv, tiny_base)
    _wait_for_checkpoint(home, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    half_written = next(home.glob("checkpoints/*/")) / "checkpoint-9999"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"cut off")

    run_id, _ = _start(home, labelled_csv, tiny_base).communicate(timeout=180)

    runs = connect().search_runs([ensure_experiment(TRAINING_EXPERIMENT)])
    assert [run.info.run_id for run in runs] == [run_id.strip()]
    assert runs[0].data.tags["resumed_from"].startswith("checkpoint-")
    assert runs[0].data.tags["resumed_from"] != "checkpoint-9999"
    assert runs[0].info.status == "FINISHED"
    assert not list(home.glob("checkpoints/*/"))

    # The way is the one of a training that was not killed.
    other_home = tmp_path / "uninterrupted"
    other_id, _ = _start(other_home, labelled_csv, tiny_base).communicate(timeout=180)
    resumed = _losses(home, run_id.strip())
    assert resumed == pytest.approx(_losses(other_home, other_id.strip()), rel=1e-3)


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before_with_any_checkpoint_steps(
    home: Path, labelled_csv: Path, tiny_base: Path
) -> None:
    process = _start(home, labelled_csv, tiny_base)
    _wait_for_checkpoint(home, process, count=2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    steps = [int(path.name.partition("-")[2]) for path in home.glob("checkpoints/*/checkpoint-*")]
    *_, before, last = sorted(steps)
    (weights,) = home.glob(f"checkpoints/*/checkpoint-{last}/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1_000])

    run_id, _ = _start(home, labelled_csv, tiny_base, checkpoint_steps=7).communicate(timeout=180)

    (run,) = connect().search_runs([ensure_experiment(TRAINING_EXPERIMENT)])
    assert (run.info.run_id, run.info.status) == (run_id.strip(), "FINISHED")
    assert run.data.tags["resumed_from"] == f"checkpoint-{before}"
    assert run.data.tags["dropped_checkpoints"] == f'["checkpoint-{last}"]'
    assert run.data.params["checkpoint_steps"] == "10"
    assert run.data.tags["resumed_with"] == '{"checkpoint_steps": 7}'


def _losses(home: Path, run_id: str) -> list[float]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    history = client.get_metric_history(run_id, "train_loss")
    return list({point.step: point.value for point in history}.values())
