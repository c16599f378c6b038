"""A models-from-code script: a model with the pipeline's signature that does nothing."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class NothingModel(PythonModel):
    """Answers each row with an empty document."""

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Answer a frame with the column `text` by one with the column `text`, a row a row."""
        return pd.DataFrame({"text": ["{}"] * len(model_input)}, index=model_input.index)


set_model(NothingModel())
