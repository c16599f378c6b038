"""Dataset rows in a training run's artifacts: test rows, and rows for the quality gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd

from tasks.dataset.splitting import normalise, sample_rows
from tasks.dataset.types import Split
from tasks.tracking.mlflow_client import connect

# Labelled rows that were not trained on; the test rows are the first of them.
UNSEEN_ROWS = 2_000

CALIBRATION_ROWS = 300

_FOLDER = "data"


@dataclass(frozen=True)
class CheckRows:
    """Rows for the quality gates, from the data set that a model was trained on.

    Attributes:
        unseen: Labelled rows (`text`, `label`) that it was not trained on.
        calibration: Texts that it was trained on, for int8 quantisation.
    """

    unseen: pd.DataFrame
    calibration: Sequence[str]


def log_rows(split: Split, train_rows: pd.DataFrame) -> None:
    """Log the test part, and the rows for the quality gates, to the active run.

    Args:
        split: The labelled rows.
        train_rows: The sample of its train part that the model is trained on.
    """
    parts = {name: pd.read_parquet(split.part(name)) for name in ("test", "train", "validation")}
    seen = parts["train"]["text"].map(normalise).isin(train_rows["text"].map(normalise))
    others = pd.concat([parts["train"][~seen], parts["validation"]], ignore_index=True)
    # A random sample: files are often sorted by label.
    others = sample_rows(others, max(1, UNSEEN_ROWS - len(parts["test"])), seed=0)
    unseen = pd.concat([parts["test"], others], ignore_index=True)
    mlflow.log_artifact(str(split.part("test")), _FOLDER)
    with TemporaryDirectory(prefix="millstream-") as name:
        for stem, rows in (
            ("unseen", unseen.head(UNSEEN_ROWS)),
            ("calibration", sample_rows(train_rows, CALIBRATION_ROWS, seed=0)),
        ):
            path = Path(name) / f"{stem}.parquet"
            rows.to_parquet(path, index=False)
            mlflow.log_artifact(str(path), _FOLDER)


def load_test_rows(run_id: str) -> pd.DataFrame:
    """Return the test part (`text`, `label`) that a training run logged."""
    return _load_table(run_id, "test")


def load_check_rows(run_id: str) -> CheckRows:
    """Return the rows for the quality gates; older runs logged the test part alone."""
    paths = {file.path for file in connect().list_artifacts(run_id, _FOLDER)}
    if f"{_FOLDER}/unseen.parquet" not in paths:
        rows = load_test_rows(run_id)
        return CheckRows(rows, rows["text"].head(CALIBRATION_ROWS).tolist())
    return CheckRows(
        _load_table(run_id, "unseen"), _load_table(run_id, "calibration")["text"].tolist()
    )


def _load_table(run_id: str, stem: str) -> pd.DataFrame:
    with TemporaryDirectory(prefix="millstream-") as name:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=f"{_FOLDER}/{stem}.parquet", dst_path=name
        )
        return pd.read_parquet(path)
