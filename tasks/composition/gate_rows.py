"""The rows that a composition is measured with: those that no member was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyfunc.composition.tree import Node, deciders_of, has_open_thresholds
from pyfunc.pipeline import refusal_reason
from tasks.common.errors import ParameterError
from tasks.dataset.labels import label_key
from tasks.dataset.splitting import digest_text, sample_rows
from tasks.training.logged_rows import load_joint_test_rows, select_unseen_by_all

MIN_ROWS = 500
MAX_ROWS = 2_000

Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GateRows:
    """Rows to measure a composition with.

    Attributes:
        texts: Texts that no member was trained on, and that a pipeline answers.
        labels: The normal form of their labels.
        proves: Which of them prove what is chosen on the others.
    """

    texts: list[str]
    labels: list[str]
    proves: Truth


def load_gate_rows(
    answer: Node, training_runs: Mapping[str, str], file: str = "composition"
) -> GateRows:
    """Return test rows of the members that decide, which no member was trained on.

    Args:
        answer: The tree.
        training_runs: The training run of each member.
        file: The composition file, for the error.

    Raises:
        ParameterError: If a threshold is to be chosen and there are fewer than `MIN_ROWS` rows.
    """
    deciders = deciders_of(answer)
    own = [run_id for name, run_id in training_runs.items() if name in deciders]
    rows = select_unseen_by_all(load_joint_test_rows(own), training_runs.values())
    # A sample: the rows of one member come after those of another, and files are sorted by label.
    rows = sample_rows(rows[rows["text"].map(refusal_reason) == ""], MAX_ROWS, seed=0)
    if has_open_thresholds(answer) and len(rows) < MIN_ROWS:
        raise ParameterError(
            f"{file}: least: auto needs {MIN_ROWS} test rows that no member was trained on, and "
            f"has {len(rows)}; expected a number"
        )
    digests = rows["text"].map(digest_text)
    proves = np.array([int(digest[:8], 16) % 2 == 1 for digest in digests], bool)
    if not has_open_thresholds(answer):
        proves[:] = True
    return GateRows(rows["text"].tolist(), rows["label"].map(label_key).tolist(), proves)
