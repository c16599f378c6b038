"""The head of a transformer: features from the replay memory, and the model with new weights."""

import time
from pathlib import Path

import pandas as pd

from tasks.learning.backbone import Backbone
from tasks.learning.parent import Parent
from tasks.learning.regression import Weights
from tasks.learning.replay import ReplayMemory
from tasks.learning.rows import LearningRows, remember_labels, texts_of
from tasks.training.finetuned_model import max_tokens_of
from tasks.training.mlflow_run import log_model


class TransformerHead:
    """The last linear layer of a transformer, with features that are computed once for each text.

    Attributes:
        weights: The parent's, of shape (features, labels); a bias is one more row, the last.
        has_bias: Whether there is one.
        train: The features of the rows to learn from, of shape (rows, features).
        validation: Those of the rows to judge by.
        metrics: Texts that were computed, those that were known, and the seconds it took.
    """

    def __init__(self, folder: Path, parent: Parent, rows: LearningRows) -> None:
        """Load the model, and compute the features that are not known yet.

        Args:
            folder: That of `downloaded_classifier`.
            parent: The version in it.
            rows: The rows.

        Raises:
            ModelError: If the model does not end with a linear layer, or texts are gone whose
                features are not known.
        """
        started = time.perf_counter()
        self._backbone = Backbone(folder, max_tokens=max_tokens_of(folder), name=parent.uri)
        self.weights, self.has_bias = self._backbone.weights(), self._backbone.has_bias
        memory = ReplayMemory(self._backbone)
        every = pd.concat([rows.train, rows.validation], ignore_index=True)
        digests = every["text_digest"].unique().tolist()
        memory.add(texts_of(every))
        self.train, self.validation = (
            memory.features(part["text_digest"].tolist(), parent.uri)
            for part in (rows.train, rows.validation)
        )
        remember_labels(parent)
        self.metrics: dict[str, float] = {
            "features_computed": memory.computed,
            "features_remembered": len(digests) - memory.computed,
            "feature_seconds": time.perf_counter() - started,
        }

    def log(self, weights: Weights, parent: Parent) -> str:
        """Log the model with other weights of its head to the active run; return its URI."""
        self._backbone.set_weights(weights)
        return log_model(
            self._backbone.model, self._backbone.tokenizer, parent.split, parent.parameters
        )
