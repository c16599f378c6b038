"""Fitting: a static classifier learns labels and shares of labels, the same in each process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pyfunc.fingerprint import digest_folder
from pyfunc.static.model import StaticModel
from tasks.common.errors import ModelError
from tasks.static_model.fitting import FeatureReader, Fitted, Targets, fit, write_unfitted
from tasks.static_model.reference import StaticReference
from tasks.static_model.tokenizer import copy_tokenizer, feature_space, train_tokenizer

# The label is decided by the pair alone: each word is as frequent under both.
TEXTS = ["not good at all", "not bad at all", "so good in all", "so bad in all"] * 20
TRUTH = [0, 1, 1, 0] * 20

Shares = npt.NDArray[np.float64]


def one_hot(truth: list[int], labels: int = 2) -> Shares:
    return np.eye(labels)[truth]


def fitted_in(folder: Path, shares: Shares, *, balanced: bool = False) -> Fitted:
    folder.mkdir()
    train_tokenizer(TEXTS, folder, max_tokens=16, labels=shares.shape[1])
    blank = write_unfitted(folder, [f"label {n}" for n in range(shares.shape[1])])
    reader = FeatureReader(folder, blank, max_tokens=16)
    validation = TEXTS[:8], shares[:8].argmax(axis=1)
    found = fit(blank, reader, Targets(TEXTS, shares), validation, balanced=balanced)
    found.model.write(folder)
    return found


def logits_by(folder: Path, count: int = 4) -> Shares:
    return StaticReference(folder, max_tokens=16).logits(TEXTS[:count])


def test_pairs_of_words_decide_where_words_do_not(tmp_path: Path) -> None:
    found = fitted_in(tmp_path / "a", one_hot(TRUTH))
    assert found.logits.argmax(axis=1).tolist() == TRUTH[:8]
    assert found.loss < 0.2
    assert np.abs(logits_by(tmp_path / "a", 8) - found.logits).max() < 1e-4


def test_shares_of_labels_are_learned_as_such(tmp_path: Path) -> None:
    shares = np.where(one_hot(TRUTH) == 1, 0.8, 0.2)
    fitted_in(tmp_path / "a", shares)
    odds = np.exp(logits_by(tmp_path / "a"))
    assert np.abs(odds / odds.sum(axis=1, keepdims=True) - shares[:4]).max() < 0.1


def test_a_label_without_a_row_is_never_answered(tmp_path: Path) -> None:
    found = fitted_in(tmp_path / "a", one_hot(TRUTH, labels=3))
    assert set(found.logits.argmax(axis=1)) == {0, 1}
    assert (found.logits[:, 2] < -20).all()


def test_three_labels_get_a_column_each(tmp_path: Path) -> None:
    truth = [0, 1, 1, 2] * 20
    found = fitted_in(tmp_path / "a", one_hot(truth, labels=3))
    assert logits_by(tmp_path / "a").argmax(axis=1).tolist() == truth[:4]
    assert found.model.table.shape[1] == 3


def test_balanced_rows_raise_a_rare_label(tmp_path: Path) -> None:
    shares = np.full((len(TEXTS), 2), (0.9, 0.1))
    plain = fitted_in(tmp_path / "a", shares)
    balanced = fitted_in(tmp_path / "b", shares, balanced=True)
    assert balanced.logits[:, 1].mean() > plain.logits[:, 1].mean() + 0.5


def test_rows_of_one_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="one label; expected two or more"):
        fitted_in(tmp_path / "a", one_hot([0] * len(TEXTS)))


def test_another_process_writes_the_same_files(tmp_path: Path) -> None:
    fitted_in(tmp_path / "a", one_hot(TRUTH))
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.tasks.static_model.test_fitting import TRUTH, fitted_in, one_hot\n"
        "fitted_in(Path(sys.argv[1]), one_hot(TRUTH))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "b")], check=True)
    assert digest_folder(tmp_path / "a") == digest_folder(tmp_path / "b")


def test_more_labels_get_a_smaller_table(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, tmp_path, max_tokens=16, labels=2)
    buckets = [feature_space(tmp_path, labels).buckets for labels in (2, 4, 5, 1000)]
    assert buckets == [2**18, 2**18, 2**17, 2**10]


def test_the_tokenizer_of_a_teacher_is_kept(tiny_classifier: Path, tmp_path: Path) -> None:
    copy_tokenizer(tiny_classifier, tmp_path, max_tokens=12)
    name = "tokenizer.json"
    assert (tmp_path / name).read_bytes() == (tiny_classifier / name).read_bytes()
    model = write_unfitted(tmp_path, ["a", "b"])
    assert model.space.ignored  # [CLS], [SEP], …
    assert StaticModel.read(tmp_path).space == model.space
