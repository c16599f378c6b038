"""The rows that a training run keeps: to test its model, and to check what is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd

from tasks.dataset.splitting import normalise, sample
from tasks.dataset.types import Split
from tasks.tracking.mlflow_client import connect

# Labelled rows that the training did not see; the test rows are the first of them.
UNSEEN_ROWS = 2_000

CALIBRATION_ROWS = 300

_FOLDER = "data"


@dataclass(frozen=True)
class CheckRows:
    """Rows of the data that a model was trained on.

    Attributes:
        unseen: Labelled rows (`text`, `label`) that it was not trained on.
        calibration: Texts that it was trained on.
    """

    unseen: pd.DataFrame
    calibration: Sequence[str]


def log_rows(split: Split, drawn: pd.DataFrame) -> None:
    """Log the test part, and rows for checks, to the active run.

    Args:
        split: The split.
        drawn: The rows of its train part that the model is trained on.
    """
    parts = {name: pd.read_parquet(split.part(name)) for name in ("test", "train", "validation")}
    seen = parts["train"]["text"].map(normalise).isin(drawn["text"].map(normalise))
    undrawn = parts["train"][~seen]
    others = pd.concat([undrawn, parts["validation"]], ignore_index=True)
    # Drawn: files often have one label after the other.
    others = sample(others, max(1, UNSEEN_ROWS - len(parts["test"])), seed=0)
    unseen = pd.concat([parts["test"], others], ignore_index=True)
    mlflow.log_artifact(str(split.part("test")), _FOLDER)
    with TemporaryDirectory(prefix="millstream-") as name:
        for stem, rows in (
            ("unseen", unseen.head(UNSEEN_ROWS)),
            ("calibration", sample(drawn, CALIBRATION_ROWS, seed=0)),
        ):
            path = Path(name) / f"{stem}.parquet"
            rows.to_parquet(path, index=False)
            mlflow.log_artifact(str(path), _FOLDER)


def test_rows(run_id: str) -> pd.DataFrame:
    """Return the test part (`text`, `label`) that a training run logged."""
    return _logged(run_id, "test")


def check_rows(run_id: str) -> CheckRows:
    """Return the rows for checks that a training run logged; an older one has its test part."""
    logged = {file.path for file in connect().list_artifacts(run_id, _FOLDER)}
    if f"{_FOLDER}/unseen.parquet" not in logged:
        rows = test_rows(run_id)
        return CheckRows(rows, rows["text"].head(CALIBRATION_ROWS).tolist())
    return CheckRows(_logged(run_id, "unseen"), _logged(run_id, "calibration")["text"].tolist())


def _logged(run_id: str, stem: str) -> pd.DataFrame:
    with TemporaryDirectory(prefix="millstream-") as name:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=f"{_FOLDER}/{stem}.parquet", dst_path=name
        )
        return pd.read_parquet(path)
