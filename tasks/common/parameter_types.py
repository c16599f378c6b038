"""The base class of records, and types of flow parameters that records of several rooms use.

The type of a parameter stands beside the record that uses it: bounds, choices and a description,
which becomes the text of the form and of `--help`, see `flows.parameters.described`.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks.common.errors import ParameterError
from tasks.common.urls import (
    check_characters,
    is_remote,
    is_s3,
    is_url,
    local_path,
    refuse_login,
    s3_place,
)

Positive = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
FolderPath = Annotated[str, Field(min_length=1)]


def about(description: str, **bounds: Any) -> Any:
    """Return what describes and bounds a parameter within `Annotated`: pydantic's `Field`."""
    return Field(description=description, **bounds)


def path_of(parameter: str, expected: str) -> BeforeValidator:
    """Return what refuses, within `Annotated`, text that can be no path or is a URL with a login.

    So it is refused before a run starts, and before Prefect has to store it. Whether there is such
    a file is for the run to find, which may be on another machine.

    Args:
        parameter: Its name, for the error.
        expected: What it may be, for the error.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        refuse_login(value)
        if is_url(value):
            check_characters(parameter, value, expected)
        else:
            local_path(parameter, value, expected)
        return value

    return BeforeValidator(check)


def source_of(parameter: str, expected: str) -> BeforeValidator:
    """Return what `path_of` returns, for a parameter that also takes addresses on S3.

    Args:
        parameter: Its name, for the error.
        expected: What it may be, for the error.
    """

    def check(value: Any) -> Any:
        if isinstance(value, str):
            refuse_login(value)
            check_source(parameter, value, expected)
        return value

    return BeforeValidator(check)


def check_source(parameter: str, text: str, expected: str) -> None:
    """Check that a text can be a path on this machine, an http(s) URL or an address on S3.

    Args:
        parameter: Its name, for the error.
        text: Its value.
        expected: What it may be, for the error.

    Raises:
        ParameterError: If it is none of them.
    """
    if not is_remote(text):
        local_path(parameter, text, expected)
        return
    check_characters(parameter, text, expected)
    if is_s3(text):
        try:
            s3_place(text)
        except ParameterError as error:
            raise ParameterError(f"{parameter}: {error}") from None


class FrozenModel(BaseModel):
    """A record that cannot be changed, and that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
