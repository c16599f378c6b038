"""Load a logged static classifier in any process; MLflow calls `_load_pyfunc`.

The model ships this package under a name made from its digest (`tasks/static_model/flavour.py`):
MLflow puts its folder on `sys.path`, where two versions of one name would collide. All that
`predict` needs is imported at once, as that folder may be deleted after the load.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from ..classifier import Classifier
from ..engines.static import StaticEngine
from ..tokens import read_config


class StaticPyfunc:
    """Adapter between MLflow's data frames and a static classifier."""

    def __init__(self, folder: Path) -> None:
        """Load the classifier.

        Args:
            folder: Holds weights, configuration and tokenizer.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
        """
        limit = int(read_config(folder, "tokenizer_config.json")["model_max_length"])
        self.classifier = Classifier(folder, StaticEngine(folder), max_tokens=limit)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Return the likeliest `label` of each `text`, and its `score`.

        Args:
            model_input: Has the column `text`.
            params: None are known.
        """
        predictions = self.classifier.predict(model_input["text"].tolist())
        columns = {
            "label": [found.label for found in predictions],
            "score": [found.score for found in predictions],
        }
        return pd.DataFrame(columns, index=model_input.index)


def _load_pyfunc(path: str) -> StaticPyfunc:
    """Return the model that `mlflow.pyfunc.load_model` wraps.

    Args:
        path: Folder of the classifier.
    """
    return StaticPyfunc(Path(path))
