"""Dataset rows in a training run's artifacts: test rows, gate rows, digests of trained texts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd

from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.dataset.splitting import PARTS, digest_text, normalise, sample_rows
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
    _log_tables(
        {
            "unseen": unseen.head(UNSEEN_ROWS),
            "calibration": sample_rows(train_rows, CALIBRATION_ROWS, seed=0),
            "trained": _digests([*train_rows["text"], *unlabelled]),
            "validated": _digests(parts["validation"]["text"]),
        }
    )


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
    if (split := find_split(run_id)) is not None:
        train = pd.read_parquet(split.part("train"))
        unseen |= ~digests.isin(train["text"].map(digest_text))
    return rows[unseen]


def find_split(run_id: str) -> Split | None:
    """Return the split that a training logged, if the one on this machine is still the same."""
    record = read_logged_json(run_id, SPLIT_FILE)
    if record is None or not _has_table(run_id, "test"):
        return None
    logged = Split.model_validate(record)
    # The state folder may have moved since.
    moved = get_settings().data / "splits" / logged.folder.name
    for split in (logged.model_copy(update={"folder": place}) for place in (moved, logged.folder)):
        if all(split.part(name).is_file() for name in PARTS) and (
            pd.read_parquet(split.part("test")).equals(load_test_rows(run_id))
        ):
            return split
    return None


def load_measured_digests(run_id: str) -> frozenset[str]:
    """Return the digests of the texts that a training is measured on: its test and validation part.

    Raises:
        ModelError: If it is an older one, which did not log them.
    """
    tested = load_test_rows(run_id)["text"].map(digest_text)
    return frozenset({*tested, *_logged_digests(run_id, "validated")})


def log_rows_again(run_id: str, learnt: Iterable[str]) -> None:
    """Log the rows of another training to the active run, as of a model that learnt more texts.

    Args:
        run_id: The other training.
        learnt: The texts; none is in its test or validation part.

    Raises:
        ModelError: If it is an older one, which logged not all of them.
    """
    added = _digests(learnt)
    trained = {*_logged_digests(run_id, "trained"), *added[_DIGESTS]}
    unseen = _load_table(run_id, "unseen")
    tables = {
        **{stem: _load_table(run_id, stem) for stem in ("test", "calibration", "validated")},
        "unseen": unseen[~unseen["text"].map(digest_text).isin(added[_DIGESTS])],
        "trained": pd.DataFrame({_DIGESTS: sorted(trained)}),
    }
    _log_tables(tables)
    mlflow.log_dict(read_logged_json(run_id, SPLIT_FILE), SPLIT_FILE)


def _logged_digests(run_id: str, stem: str) -> "pd.Series[str]":
    if not _has_table(run_id, stem):
        raise ModelError(
            f"training run {run_id}: has no {_FOLDER}/{stem}.parquet; expected one, as each "
            "training of today logs it: train again"
        )
    return _load_table(run_id, stem)[_DIGESTS]


def _log_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    with TemporaryDirectory(prefix="millstream-") as name:
        for stem, rows in tables.items():
            path = Path(name) / f"{stem}.parquet"
            rows.to_parquet(path, index=False)
            mlflow.log_artifact(str(path), _FOLDER)


def _digests(texts: Iterable[str]) -> pd.DataFrame:
    return pd.DataFrame({_DIGESTS: pd.Series(list(texts), dtype=str).map(digest_text).unique()})


def _unseen_digests(run_id: str) -> set[str]:
    stems = [stem for stem in ("test", "unseen") if _has_table(run_id, stem)]
    return {digest_text(text) for stem in stems for text in _load_table(run_id, stem)["text"]}


def _has_table(run_id: str, stem: str) -> bool:
    return has_artifact(run_id, f"{_FOLDER}/{stem}.parquet")


def _load_table(run_id: str, stem: str) -> pd.DataFrame:
    with TemporaryDirectory(prefix="millstream-") as name:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=f"{_FOLDER}/{stem}.parquet", dst_path=name
        )
        return pd.read_parquet(path)
