"""Models-from-code script of a no-op model with the pipeline's signature, as a baseline."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class NothingModel(PythonModel):
    """Answers each row with an empty JSON document."""

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return an empty document for each row, in the column `text`."""
        return pd.DataFrame({"text": ["{}"] * len(model_input)}, index=model_input.index)


set_model(NothingModel())
