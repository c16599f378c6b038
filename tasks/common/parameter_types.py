"""The base class of records, and types of flow parameters that records of several rooms use.

The type of a parameter stands beside the record that uses it: bounds, choices and a description,
which becomes the text of the form and of `--help`, see `flows.parameters.described`.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.common.urls import refuse_login

Positive = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Source = Annotated[str, AfterValidator(refuse_login)]  # a path, a name or a URL
FolderPath = Annotated[str, Field(min_length=1)]


def about(description: str, **bounds: Any) -> Any:
    """Return what describes and bounds a parameter within `Annotated`: pydantic's `Field`."""
    return Field(description=description, **bounds)


class FrozenModel(BaseModel):
    """A record that cannot be changed, and that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
