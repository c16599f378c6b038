"""Ctrl-C at a terminal: every process of the command gets it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.common.settings import REPOSITORY
from tests.support.builders import HEEDING_INTERRUPTS


@pytest.mark.slow
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
    assert "error: interrupted" in said.splitlines()
    assert "Traceback" not in said
    (run,) = MlflowClient(f"sqlite:///{home}/mlflow.db").search_runs(["1"])
    assert run.info.status == "KILLED"
