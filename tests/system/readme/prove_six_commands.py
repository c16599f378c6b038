"""The six commands of README, as they stand there, in a copy of the repository without state.

`make readme-test`. That each of them parses is a test of `tests/test_readme.py`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pandas as pd
import pytest

from tasks.common.settings import REPOSITORY
from tasks.tracking.names import SCORING_EXPERIMENT, TRAINING_EXPERIMENT
from tests.support.builders import HEEDING_INTERRUPTS
from tests.support.operation import Operation, free_ports, until
from tests.support.tickets import write_tickets

LABELS = {"account", "billing", "returns", "shipping", "technical"}


def _six_commands() -> list[str]:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"^## Your own data, in six commands$.*?```sh\n(.*?)```", readme, re.M | re.S
    )
    return [line.partition(" #")[0].strip() for line in block.splitlines()]


class Clone:
    """A copy of the repository with the same Python environment, and without state.

    Attributes:
        folder: Its root.
        operation: Its services.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        prefect_port, mlflow_port = free_ports(2)
        self.operation = Operation(folder / "var", prefect_port, mlflow_port)
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.check_output(listing, cwd=REPOSITORY, text=True)
        for name in filter(None, names.split("\0")):
            if (REPOSITORY / name).exists():
                copied = folder / name
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, copied)
        (folder / ".venv").symlink_to(sys.prefix)
        # Else make would install what is installed.
        for name in ("pyproject.toml", "constraints.txt"):
            os.utime(folder / name, (0, 0))

    @property
    def environment(self) -> dict[str, str]:
        given = self.operation.environment()
        del given["MILLSTREAM_HOME"]
        del given["MILLSTREAM_PROJECT"]  # it is that of the folder
        return given | {"COLUMNS": "200", "TMPDIR": str(self.temporary)}

    @property
    def temporary(self) -> Path:
        folder = self.folder.with_name("temporary")
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, command: str) -> str:
        """Run a command line, and return its output."""
        ended = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout + ended.stderr

    @contextmanager
    def in_background(self, command: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a command line until Ctrl-C at the end of the block; its output goes to a file."""
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [*HEEDING_INTERRUPTS, "/bin/sh", "-c", command],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                os.killpg(process.pid, signal.SIGINT)

    def predictions(self, name: str) -> pd.DataFrame:
        files = sorted((self.folder / "var/scored" / name / "predictions").glob("*.parquet"))
        return pd.concat(map(pd.read_parquet, files), ignore_index=True)


@pytest.mark.timeout(900)
def test_the_six_commands_train_score_and_run_at_night(tmp_path: Path) -> None:
    start, train, score, look, up, put = _six_commands()
    clone = Clone(tmp_path / "m")  # the path of a socket is short
    (clone.folder / "march").mkdir()
    march, april = clone.folder / "march" / "tickets.csv", clone.folder / "april.csv"
    _short_tickets(600, seed=7).to_csv(clone.folder / "tickets.csv", index=False)
    _short_tickets(90, seed=8).to_csv(march, index=False)
    _short_tickets(60, seed=9).drop(columns="queue").to_csv(april, index=False)

    started = clone.run(start)
    assert all(label in started for label in LABELS)
    assert 'text_column = "body"' in (clone.folder / "millstream.toml").read_text()

    trained = clone.run(train)
    assert re.search(r"test accuracy +│ 0\.[6-9]|test accuracy +│ 1", trained)
    assert re.search(r"answers now +│ yes", trained)
    unseen = clone.predictions("end-to-end")
    assert set(unseen["prediction_label"]) <= LABELS

    again = clone.run(train)
    assert "the training is not repeated: run" in again
    assert re.search(r"shards done before +│ 8 ", again)
    pd.testing.assert_frame_equal(clone.predictions("end-to-end"), unseen)

    clone.run(score)
    scored, given = clone.predictions("march"), pd.read_csv(march)
    pd.testing.assert_frame_equal(scored[list(given)], given)
    assert (scored["prediction_label"] == scored["queue"]).mean() > 0.6

    said = tmp_path / "said.log"
    with clone.in_background(look, said) as server:
        address = f"http://127.0.0.1:{clone.operation.mlflow_port}"
        until(lambda: _answers(address) or server.poll() is not None, look)
        for experiment in (TRAINING_EXPERIMENT, SCORING_EXPERIMENT):
            assert "<html" in _last_report(address, experiment)
    assert not re.search(r"Traceback|\*\*\*", said.read_text())
    assert not _answers(address)

    assert not list(clone.temporary.iterdir())
    try:
        shown = clone.run(up)
        assert f"http://127.0.0.1:{clone.operation.prefect_port}" in shown
        steps = ("checking prefect.yaml", "starting prefect", "deploying", "starting worker")
        positions = [shown.find(f"\n{step}") for step in steps]
        assert -1 not in positions
        assert positions == sorted(positions)
        assert "of make up" in clone.run(look)
        clone.run(put)
        # As at night, but at once, and without waiting until the file is surely whole.
        clone.operation.complete("score-shards/nightly", {"settle_seconds": 0})
    finally:
        clone.run("make down")
    assert len(clone.predictions("inbox")) == 60


def _short_tickets(rows: int, seed: int) -> pd.DataFrame:
    """Return tickets of one sentence each, which train in a fourth of the time."""
    with TemporaryDirectory() as folder:
        tickets = pd.read_csv(write_tickets(Path(folder) / "tickets.csv", rows=rows, seed=seed))
    sentences = tickets["body"].str.split(r"(?<=[.,?!]) ", regex=True)
    return tickets.assign(body=sentences.map(lambda found: max(found, key=len)))


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health").is_success
    except httpx.TransportError:
        return False


def _last_report(address: str, experiment: str) -> str:
    """Return the report of the last run of an experiment, as MLflow's user interface gets it."""
    found = httpx.get(
        f"{address}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": experiment}
    ).json()["experiment"]
    runs = httpx.post(
        f"{address}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": [found["experiment_id"]], "max_results": 1},
    ).json()["runs"]
    return httpx.get(
        f"{address}/get-artifact",
        params={"run_uuid": runs[0]["info"]["run_id"], "path": "report.html"},
    ).text
