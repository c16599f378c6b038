"""The whole way with the packaged model and data, as `make demo` takes it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.common.settings import REPOSITORY


def _run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in os.environ if name != "MLFLOW_TRACKING_URI"}
    temporary = _temporary(home)
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "flows.end_to_end", *arguments],
        cwd=REPOSITORY,
        env=environment
        | {"MILLSTREAM_HOME": str(home), "TMPDIR": str(temporary), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def _temporary(home: Path) -> Path:
    return home.with_name("temporary")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_packaged_model_goes_from_reviews_to_scores_and_nothing_is_done_twice(
    home: Path,
) -> None:
    first = _run(home, "--sample-size", "640", "--min-steps", "0")
    assert first.returncode == 0, first.stderr
    assert re.search(r"test accuracy +│ 0\.[5-9]", first.stdout)
    assert "models:/dl_finetuned_model/1 (champion)" in first.stdout
    assert "models:/inference_pipeline_model/1 (champion)" in first.stdout
    assert f"MILLSTREAM_HOME={home} make mlflow-ui" in first.stdout
    assert f"MILLSTREAM_HOME={home} make prefect-ui" in first.stdout

    output = home / "scored" / "end-to-end"
    scored = pd.concat(map(pd.read_parquet, sorted(output.glob("predictions/*.parquet"))))
    assert len(list(output.glob("predictions/*.parquet"))) == 8
    assert scored["text"].duplicated().any()
    assert scored["cached"].sum() == scored["text"].duplicated().sum()
    # Unseen rows, and a score for each.
    assert (scored["prediction_label"] == scored["label"]).mean() > 0.5
    assert scored["prediction_score"].between(0.5, 1).all()

    second = _run(home, "--sample-size", "640", "--min-steps", "0")
    assert second.returncode == 0, second.stderr
    assert "reusing the model of run" in second.stderr
    assert "models:/inference_pipeline_model/1 (champion)" in second.stdout
    assert re.search(r"shards done before +│ 8 ", second.stdout)
    again = pd.concat(map(pd.read_parquet, sorted(output.glob("predictions/*.parquet"))))
    pd.testing.assert_frame_equal(again, scored)
    assert not list(_temporary(home).iterdir())
