"""Read and check the project file: the defaults for one's own data, its models and its schedules.

A variable of the environment wins over the file, and a parameter of a run over both:

    name = "tickets"               MILLSTREAM_NAME=tickets
    languages = ["en", "de"]       MILLSTREAM_LANGUAGES='["en", "de"]'
    [schedules]
    nightly = "0 1 * * *"          MILLSTREAM_SCHEDULES__NIGHTLY='0 1 * * *'
"""

import glob
import os
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from tasks.common.errors import ParameterError
from tasks.common.files import read_plain_file
from tasks.common.settings import get_settings
from tasks.common.urls import is_remote, local_path, refuse_login
from tasks.project.tables import SERVER_VARIABLES, Schedules, Serve
from tasks.project.toml_lines import line_of_key

# It becomes part of names in MLflow's registry, of run names and of event names.
ProjectName = Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_-]{0,39})?$")]

_PREFIX, _LEVELS = "MILLSTREAM_", "__"

# Flow parameters of the same names.
_PARAMETERS = {
    *("source", "text_column", "label_column", "label_names", "base_model"),
    *("separator", "encoding", "header"),
    *("languages", "language_policy"),
}


class Project(BaseSettings):
    """One's own data, and what is done with it.

    Paths are relative to the folder of the file.

    Attributes:
        name: Goes in front of the names of the registered models, so that a project has a
            champion of its own. Empty takes the names of the demo.
        source: What to train on: a file, a URL, an object on S3, rotten_tomatoes or imdb.
        text_column: Column of the texts, in the training data and in the files to score.
        label_column: Column of the labels, in the training data.
        label_names: The labels in the order of their ids.
        separator: What separates the cells of CSV and TSV files, if it is not found by itself.
        encoding: Encoding of files without a byte order mark, if it is not UTF-8.
        header: Whether CSV and TSV files begin with the names of their columns.
        languages: The languages that the model is meant for.
        language_policy: What becomes of rows in others.
        base_model: What is fine-tuned.
        inbox: Folder whose new files are scored each night.
        output: Folder of their scores.
        sources: What is scored besides the inbox: files, folders, patterns, URLs, addresses on S3.
        schedules: When.
        serve: The servers of `make up`.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter=_LEVELS,
        env_ignore_empty=True,
    )

    name: ProjectName = ""
    source: str = ""
    text_column: str = ""
    label_column: str = ""
    label_names: tuple[str, ...] = ()
    separator: str = ""
    encoding: str = ""
    header: bool = True
    languages: tuple[str, ...] = ()
    language_policy: str = ""
    base_model: str = ""
    inbox: str = ""
    output: str = ""
    sources: tuple[str, ...] = ()
    schedules: Schedules = Schedules()
    serve: Serve = Serve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take a value from the environment before that of the file, which the call passes."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @field_validator("inbox", "output")
    @classmethod
    def _is_local(cls, folder: str) -> str:
        with _as_value_errors():
            local_path("the path", folder, "a folder on this machine")
        return folder

    @field_validator("source", "base_model", "sources")
    @classmethod
    def _has_no_login(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        with _as_value_errors():
            for source in (value,) if isinstance(value, str) else value:
                refuse_login(source)
        return value

    @property
    def is_given(self) -> bool:
        """Whether there is a project file, or a variable in its place."""
        return bool(self.model_fields_set)

    @property
    def inbox_folder(self) -> Path:
        """The folder whose new files are scored each night."""
        return _folder(self.inbox) if self.inbox else get_settings().inbox

    @property
    def output_folder(self) -> Path:
        """The folder of their scores."""
        return _folder(self.output) if self.output else get_settings().scored / "inbox"

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is scored each night: the inbox and the other sources."""
        return (str(self.inbox_folder), *map(_beside_the_file, self.sources))

    @property
    def defaults(self) -> dict[str, Any]:
        """The given values, by the name of the flow parameter that each is the default of."""
        given: dict[str, Any] = self.model_dump(include=_PARAMETERS, exclude_defaults=True)
        for name in given.keys() & {"source", "base_model"}:
            given[name] = _beside_the_file(given[name])
        return given

    def model_name(self, name: str) -> str:
        """Return the name in the registry of the model that the demo registers as `name`."""
        return f"{self.name}_{name}" if self.name else name


@lru_cache(maxsize=1)
def get_project() -> Project:
    """Return the project of this process; its file and the environment are read once.

    Raises:
        ParameterError: If the file is no TOML, or it or a variable has an unknown key or a value
            out of bounds.
    """
    path = get_settings().project
    try:
        return Project(**tomllib.loads(_read(path)))
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(f"{path}: no TOML: {error}") from error
    except SettingsError as error:
        raise ParameterError(
            f"{error}; expected JSON in a variable, such as "
            """MILLSTREAM_LANGUAGES='["en", "de"]'"""
        ) from error
    except ValidationError as error:
        raise ParameterError(_describe(error)) from None


def server_variables() -> dict[str, str]:
    """Return what the table `serve` has, as the variables of the settings of the same meaning."""
    given = get_project().serve.model_dump(exclude_none=True)
    return {SERVER_VARIABLES[name]: str(value) for name, value in given.items()}


def place_of(*keys: str) -> str:
    """Return where the value of a key is from, for a message: file, line and key, or variable."""
    path = get_settings().project
    if line := line_of_key(_read(path), keys):
        return f"{path}, line {line}: {'.'.join(keys)}"
    return variable_of(*keys)


def variable_of(*keys: str) -> str:
    """Return the variable that wins over a key."""
    if keys[0] == "serve":
        return SERVER_VARIABLES.get(keys[-1], keys[-1])
    return _PREFIX + _LEVELS.join(keys).upper()


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Raise what pydantic adds the key to."""
    try:
        yield
    except ParameterError as error:
        raise ValueError(str(error)) from error


def _read(path: Path) -> str:
    if path == Path(os.devnull) or not path.exists():
        return ""
    try:
        return read_plain_file(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: cannot be read ({error}); expected TOML in UTF-8") from error


def _describe(error: ValidationError) -> str:
    """Return the first problem, with its place."""
    found = error.errors()[0]
    keys = [part for part in found["loc"] if isinstance(part, str)]
    place = place_of(*keys)
    if found["type"] == "extra_forbidden":
        return f"{place}: unknown key; expected one of {_known_keys(keys[:-1])}"
    if found["type"] == "tuple_type":
        return f'{place}: {found["input"]!r}; expected a list, such as ["a", "b"]'
    if found["type"] == "value_error":  # our own messages name the value, without secrets
        return f"{place}: {found['msg'].removeprefix('Value error, ')}"
    return f"{place}: {found['msg']}, got {found['input']!r}"


def _known_keys(tables: Sequence[str]) -> list[str]:
    model: Any = Project
    for table in tables:
        model = model.model_fields[table].annotation
    return list(model.model_fields)


def _folder(text: str) -> Path:
    return get_settings().project.parent / Path(text).expanduser()


def _beside_the_file(source: str) -> str:
    """Return the path of what lies beside the project file; a name or URL stays."""
    if is_remote(source):
        return source
    path = _folder(source)
    magic = glob.has_magic(source)
    return str(path) if magic or path.exists() else source
