"""The base class of the results of the benchmark."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of the results: frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
