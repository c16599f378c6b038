"""Dataset rows in a training run's artifacts: test rows, gate rows, digests of trained texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd

from tasks.dataset.splitting import digest_text, normalise, sample_rows
from tasks.dataset.types import Split
from tasks.tracking.mlflow_client import has_artifact, read_logged_json

# Labelled rows that were not trained on; the test rows are the first of them.
UNSEEN_ROWS = 2_000

CALIBRATION_ROWS = 300

_FOLDER = "data"
SPLIT_FILE = f"{_FOLDER}/split.json"
_DIGESTS = "text_digest"


@dataclass(frozen=True)
class CheckRows:
    """Rows for the quality gates, from the data set that a model was trained on.

    Attributes:
        unseen: Labelled rows (`text`, `label`) that it was not trained on.
        calibration: Texts that it was trained on, for int8 quantisation.
    """

    unseen: pd.DataFrame
    calibration: Sequence[str]


def log_rows(split: Split, train_rows: pd.DataFrame, unlabelled: Sequence[str] = ()) -> None:
    """Log the test part, gate rows, and digests of trained and validated texts to the active run.

    Args:
        split: The labelled rows.
        train_rows: The sample of its train part that the model is trained on.
        unlabelled: Texts without a label that the model is trained on as well.
    """
    parts = {name: pd.read_parquet(split.part(name)) for name in ("test", "train", "validation")}
    known = {normalise(text) for text in (*train_rows["text"], *unlabelled)}
    seen = parts["train"]["text"].map(normalise).isin(known)
    others = pd.concat([parts["train"][~seen], parts["validation"]], ignore_index=True)
    # A random sample: files are often sorted by label.
    others = sample_rows(others, max(1, UNSEEN_ROWS - len(parts["test"])), seed=0)
    unseen = pd.concat([parts["test"], others], ignore_index=True)
    mlflow.log_artifact(str(split.part("test")), _FOLDER)
    with TemporaryDirectory(prefix="millstream-") as name:
        for stem, rows in (
            ("unseen", unseen.head(UNSEEN_ROWS)),
            ("calibration", sample_rows(train_rows, CALIBRATION_ROWS, seed=0)),
            ("trained", _digests([*train_rows["text"], *unlabelled])),
            ("validated", _digests(parts["validation"]["text"])),
        ):
            path = Path(name) / f"{stem}.parquet"
            rows.to_parquet(path, index=False)
            mlflow.log_artifact(str(path), _FOLDER)


def load_test_rows(run_id: str) -> pd.DataFrame:
    """Return the test part (`text`, `label`) that a training run logged."""
    return _load_table(run_id, "test")


def load_joint_test_rows(run_ids: Iterable[str]) -> pd.DataFrame:
    """Return the test parts (`text`, `label`) of several training runs, each text once."""
    parts = [load_test_rows(run_id)[["text", "label"]] for run_id in dict.fromkeys(run_ids)]
    if len(parts) == 1:
        return parts[0]
    rows = pd.concat(parts, ignore_index=True)
    return rows[~rows["text"].map(digest_text).duplicated()].reset_index(drop=True)


def select_unseen_by_all(rows: pd.DataFrame, run_ids: Iterable[str]) -> pd.DataFrame:
    """Return those of `rows` (`text`, `label`) that none of the training runs saw."""
    for run_id in dict.fromkeys(run_ids):
        rows = select_unseen(rows, run_id)
    return rows


def select_unused_by_all(rows: pd.DataFrame, run_ids: Iterable[str]) -> pd.DataFrame:
    """Return those of `rows` that none of the training runs trained or validated on.

    Older runs logged no digests of the texts that they validated on. Of these runs, the test part
    alone counts as unused.
    """
    runs = list(dict.fromkeys(run_ids))
    rows = select_unseen_by_all(rows, runs)
    for run_id in runs:
        digests = rows["text"].map(digest_text)
        if _has_table(run_id, "validated"):
            rows = rows[~digests.isin(_load_table(run_id, "validated")[_DIGESTS])]
        else:
            rows = rows[digests.isin(load_test_rows(run_id)["text"].map(digest_text))]
    return rows


def load_used_digests(run_ids: Iterable[str]) -> frozenset[str] | None:
    """Return the digests of all texts that training runs trained or validated on.

    None if an older run logged not all of them.
    """
    found: set[str] = set()
    for run_id in dict.fromkeys(run_ids):
        for stem in ("trained", "validated"):
            if not _has_table(run_id, stem):
                return None
            found.update(_load_table(run_id, stem)[_DIGESTS])
    return frozenset(found)


def load_check_rows(run_id: str) -> CheckRows:
    """Return the rows for the quality gates; older runs logged the test part alone."""
    if not _has_table(run_id, "unseen"):
        rows = load_test_rows(run_id)
        return CheckRows(rows, rows["text"].head(CALIBRATION_ROWS).tolist())
    return CheckRows(
        _load_table(run_id, "unseen"), _load_table(run_id, "calibration")["text"].tolist()
    )


def select_unseen(rows: pd.DataFrame, run_id: str) -> pd.DataFrame:
    """Return those of `rows` (`text`, `label`) that a training certainly did not see.

    Older runs logged no digests of their texts. For these, rows count as unseen if the run logged
    them as such, or if its train part is still on this machine and does not have them.
    """
    digests = rows["text"].map(digest_text)
    if _has_table(run_id, "trained"):
        return rows[~digests.isin(_load_table(run_id, "trained")[_DIGESTS])]
    unseen = digests.isin(_unseen_digests(run_id))
    if (train := _train_part(run_id)) is not None:
        unseen |= ~digests.isin(train["text"].map(digest_text))
    return rows[unseen]


def _digests(texts: Iterable[str]) -> pd.DataFrame:
    return pd.DataFrame({_DIGESTS: pd.Series(list(texts), dtype=str).map(digest_text).unique()})


def _unseen_digests(run_id: str) -> set[str]:
    stems = [stem for stem in ("test", "unseen") if _has_table(run_id, stem)]
    return {digest_text(text) for stem in stems for text in _load_table(run_id, stem)["text"]}


def _train_part(run_id: str) -> pd.DataFrame | None:
    """Return the train part of an older run, if the split on this machine is still that one."""
    record = read_logged_json(run_id, SPLIT_FILE)
    if record is None or not _has_table(run_id, "test"):
        return None
    split = Split.model_validate(record)
    if not all(split.part(name).is_file() for name in ("train", "test")):
        return None
    if not pd.read_parquet(split.part("test")).equals(load_test_rows(run_id)):
        return None
    return pd.read_parquet(split.part("train"))


def _has_table(run_id: str, stem: str) -> bool:
    return has_artifact(run_id, f"{_FOLDER}/{stem}.parquet")


def _load_table(run_id: str, stem: str) -> pd.DataFrame:
    with TemporaryDirectory(prefix="millstream-") as name:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=f"{_FOLDER}/{stem}.parquet", dst_path=name
        )
        return pd.read_parquet(path)
