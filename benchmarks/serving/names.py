"""Names of the compared servers, the same in results, tables and targets."""

from typing import Final

BEFORE: Final = "mlflow models serve, before"
MLFLOW: Final = "mlflow models serve"
INVOCATIONS: Final = "millstream, /invocations"
CLASSIFY: Final = "millstream, /classify"
TRANSFORMERS: Final = "transformers pipeline behind FastAPI"
LITSERVE: Final = "LitServe"

SERVERS = (BEFORE, MLFLOW, INVOCATIONS, CLASSIFY, TRANSFORMERS, LITSERVE)


class UnavailableError(Exception):
    """A server cannot be measured here; the message says why."""
