"""Defaults of flow parameters: those of the records, and over them those of the project file."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flows.parameters import REQUIRED
from tasks.common.errors import ParameterError
from tasks.dataset.types import LabelledData
from tasks.ingestion.text_format import ReadOptions
from tasks.output.language_policy import LanguagePolicy
from tasks.output.row_parameters import RowParameters
from tasks.project.project import get_project, place_of
from tasks.training.types import FineTuneParameters

Record = TypeVar("Record", bound=BaseModel)

# Fields that are called otherwise in the project file.
_KEYS = {"policy": "language_policy"}


def with_project(record: type[Record]) -> Record:
    """Return a record of defaults, in which the values of the project file replace those of it.

    Raises:
        ParameterError: If the record refuses one.
    """
    given = get_project().defaults
    keys = {name: _KEYS.get(name, name) for name in record.model_fields}
    values = {name: given[key] for name, key in keys.items() if key in given}
    try:
        return record(**values)
    except ValidationError as error:
        found = error.errors()[0]
        place = place_of(keys[str(found["loc"][0])])
        raise ParameterError(f"{place}: {found['msg']}, got {found['input']!r}") from None
    except ParameterError as error:
        key, _, problem = str(error).partition(": ")
        raise ParameterError(f"{place_of(key)}: {problem}") from error


def check_project() -> None:
    """Check the project file, and that the records take its values.

    Raises:
        ParameterError: If a value is wrong, with the line of the file or the variable.
    """
    for record in (LabelledData, FineTuneParameters, LanguagePolicy, ReadOptions, RowParameters):
        with_project(record)


# Not of the record, which drops the secrets of a URL.
SOURCE: str = get_project().defaults.get("source", LabelledData().source)

READING = with_project(ReadOptions)

INPUTS: Any = get_project().inputs if get_project().is_given else REQUIRED
OUTPUT: Any = str(get_project().output_folder) if get_project().is_given else REQUIRED
