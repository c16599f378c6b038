"""What only shows with much data; `make scale` runs it, in about ten minutes on two cores."""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from flows.score_shards import score_shards
from tasks.common.settings import REPOSITORY
from tasks.dataset.sources import fetch_tables
from tests.support.builders import Trained

REVIEWS, DISTINCT_REVIEWS = 25_000, 24_904

FEW, MANY = 200_000, 2_000_000
DISTINCT_TEXTS = 20_000
SHARD_ROWS = 5_000


@pytest.mark.timeout(1_800)
def test_each_distinct_review_is_predicted_once_however_often_it_comes(
    trained: Trained, tmp_path: Path
) -> None:
    (reviews,) = fetch_tables("imdb")
    summary = score_shards([str(reviews)], str(tmp_path / "out"), shard_rows=1_000)
    assert (summary["rows_in"], summary["shards_total"]) == (REVIEWS, 25)
    copy = tmp_path / "the-same-again.csv"
    copy.write_bytes(reviews.read_bytes())
    again = score_shards([str(copy)], str(tmp_path / "out"), shard_rows=1_000)
    assert again["scored"] == summary["scored"]
    calls = summary["model_calls"] + again["model_calls"]
    sys.stdout.write(f"\nmodel calls for {2 * REVIEWS} rows: {calls}\n")
    assert calls <= DISTINCT_REVIEWS


def high_water_kib(process: int) -> int:
    """Return the most memory that a process has had, or 0 if it has ended.

    `ru_maxrss` would count what its parent had when it was started as well.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
        return int(found[1]) if found else 0
    return 0


def peak_kib(rows: int, home: Path, folder: Path) -> int:
    """Score a file of `rows` rows in a process of its own and return its peak memory."""
    path = folder / f"{rows}.csv"
    texts = [f"film {row}, which was {row % 7} hours long" for row in range(DISTINCT_TEXTS)]
    with path.open("w") as file:
        file.write("id,text\n")
        file.writelines(f'{row},"{texts[row % DISTINCT_TEXTS]}"\n' for row in range(rows))
    command = [sys.executable, "-m", "flows.score_shards", "--inputs", str(path)]
    command += ["--output-dir", str(folder / f"out-{rows}"), "--shard-rows", str(SHARD_ROWS)]
    environment = {name: os.environ[name] for name in os.environ if name != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment | {"MILLSTREAM_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, high_water_kib(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0
    published = pd.read_parquet(folder / f"out-{rows}" / "predictions", columns=["row"])
    assert len(published) == rows
    return peak


@pytest.mark.timeout(3_600)
def test_memory_does_not_grow_with_the_input(trained: Trained, tmp_path: Path) -> None:
    few = peak_kib(FEW, trained.home, tmp_path)
    many = peak_kib(MANY, trained.home, tmp_path)
    sys.stdout.write(f"\npeak memory: {FEW} rows {few} KiB, {MANY} rows {many} KiB\n")
    assert many == pytest.approx(few, rel=0.1)
