"""Commands that end early: by Ctrl-C, which every process of the command gets, or killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tasks.common.settings import REPOSITORY
from tests.support.builders import HEEDING_INTERRUPTS, Trained
from tests.support.operation import rows_in
from tests.support.scoring_command import Scoring, state_folder, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kills")]


def test_a_command_that_is_interrupted_says_so_and_ends(
    home: Path, labelled_csv: Path, tiny_base: Path
) -> None:
    options = ["--epochs", "1000", "--sample-size", "0", "--max-tokens", "32"]
    options += ["--source", str(labelled_csv), "--base-model", str(tiny_base)]
    process = subprocess.Popen(
        [*HEEDING_INTERRUPTS, sys.executable, "-m", "flows.train_classifier", *options],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_HOME": str(home)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "train_loss" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    last = "error: interrupted; the same command continues from the last checkpoint"
    assert said.splitlines()[-1] == last
    assert "Crash" not in said
    assert "Traceback" not in said
    (run,) = MlflowClient(f"sqlite:///{home}/mlflow.db").search_runs(["1"])
    assert run.info.status == "KILLED"


def test_scoring_that_is_interrupted_says_what_the_same_command_does(
    trained: Trained, tmp_path: Path
) -> None:
    scoring = Scoring(
        home=state_folder(trained.home, tmp_path / "var"),
        inputs=(rows_in(tmp_path / "in", "many", rows=30_000),),
        output=tmp_path / "out",
        options=("--batch-tokens", "32", "--shard-rows", "1000"),
        wrapper=HEEDING_INTERRUPTS,
    )
    running = scoring.start()
    published = tmp_path / "out" / "predictions"
    wait_until(lambda: running.is_over or any(published.glob("*.parquet")), "a shard is scored")
    os.killpg(running.process.pid, signal.SIGINT)
    ended = running.wait()
    assert ended.code == 130
    assert ended.error == "interrupted; the same command continues with the shards that are left"
    assert "ERROR" not in ended.said


def test_the_server_of_a_command_that_is_killed_ends(home: Path, labelled_csv: Path) -> None:
    def servers() -> list[psutil.Process]:
        return [
            process for process in command.children() if "flows.server.app" in process.cmdline()
        ]

    with subprocess.Popen(
        [sys.executable, "-m", "flows.train_classifier", "--source", str(labelled_csv)],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_HOME": str(home), "PREFECT_API_URL": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        command = psutil.Process(process.pid)
        wait_until(servers, "a server is started")
        (server,) = servers()
        wait_until(server.net_connections, "the server listens")
        process.kill()
    try:
        server.wait(timeout=10)
    finally:
        if server.is_running():
            server.kill()
