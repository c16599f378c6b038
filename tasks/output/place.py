"""Where an output may be written: into a folder on this machine."""

from typing import Any

from pydantic import BeforeValidator

from tasks.common.errors import ParameterError
from tasks.common.urls import is_s3, local_path, redact_url, refuse_login

PLACE_EXPECTED = "a folder on this machine"


def output_place(parameter: str) -> BeforeValidator:
    """Return what refuses, within `Annotated`, text that can be no place of an output.

    Args:
        parameter: Its name, for the error.
    """

    def check(value: Any) -> Any:
        if isinstance(value, str):
            refuse_login(value)
            check_output_place(parameter, value)
        return value

    return BeforeValidator(check)


def check_output_place(parameter: str, text: str) -> None:
    """Check that a text can be the place of an output, which is a folder on this machine.

    Args:
        parameter: Its name, for the error.
        text: Its value.

    Raises:
        ParameterError: If it is an address, also one on S3, where only inputs are: a run locks its
            output and renames drafts, and S3 can do neither. Or if it is no path.
    """
    if is_s3(text):
        raise ParameterError(
            f"{parameter}: {redact_url(text)!r} is no path on this machine; expected "
            f"{PLACE_EXPECTED}, since inputs alone may be on S3"
        )
    local_path(parameter, text, PLACE_EXPECTED)
