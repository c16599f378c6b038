"""The head of a static classifier, which is all of it: the logits of each feature of a text."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyfunc.static.model import StaticModel
from tasks.common.errors import ModelError
from tasks.learning.parent import Parent
from tasks.learning.regression import Weights
from tasks.learning.rows import LearningRows
from tasks.static_model import flavour
from tasks.static_model.fitting import FeatureReader
from tasks.training.finetuned_model import max_tokens_of
from tasks.training.mlflow_run import SIGNATURE


class StaticHead:
    """The table of a static classifier, of the features that the rows have.

    Features are counted anew each time: thousands of texts take a second.

    Attributes:
        weights: The parent's, of shape (features, labels), and the bias as one more row, the last.
        has_bias: It has one.
        train: The share of each feature in the rows to learn from, of shape (rows, features).
        validation: Those of the rows to judge by.
        metrics: The seconds that it took to count them.
    """

    has_bias = True

    def __init__(self, folder: Path, parent: Parent, rows: LearningRows) -> None:
        """Load the model, and count the features of the rows.

        Args:
            folder: That of `downloaded_classifier`.
            parent: The version in it.
            rows: The rows.

        Raises:
            ModelError: If the texts of the training are gone.
        """
        if rows.is_remembered:
            raise ModelError(
                f"{parent.uri}: the rows that it was trained on are gone from this machine "
                f"({parent.split.folder}), and a static model learns from texts alone; expected "
                "the split: train again"
            )
        started = time.perf_counter()
        self._folder = folder
        self._model = StaticModel.read(folder)
        reader = FeatureReader(folder, self._model, max_tokens=max_tokens_of(folder))
        train, validation = (
            reader.matrix(part["text"].tolist()) for part in (rows.train, rows.validation)
        )
        # Features that no row has keep the parent's weights: the fit is the same without them.
        self._seen = np.union1d(train.indices, validation.indices)
        self.train, self.validation = train[:, self._seen], validation[:, self._seen]
        self.weights = np.vstack([self._model.table[self._seen], self._model.bias]).astype(float)
        self.metrics: dict[str, float] = {"feature_seconds": time.perf_counter() - started}

    def log(self, weights: Weights, parent: Parent) -> str:
        """Log the model with another table to the active run; return its URI."""
        table = self._model.table.copy()
        table[self._seen] = weights[:-1]
        replace(self._model, table=table, bias=weights[-1].astype(np.float32)).write(self._folder)
        info = flavour.log_model(self._folder, "model", signature=SIGNATURE)
        return f"models:/{info.model_id}"
