"""The MLflow model registry: register versions, find them by number, alias or URI."""

import logging
import re

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.common.errors import ModelError, ParameterError
from tasks.tracking.mlflow_client import connect, is_transient
from tasks.tracking.names import (
    PREVIOUS_TAG,
    RegisteredModel,
    parse_pipeline_reference,
    version_uri,
)

logger = logging.getLogger(__name__)


def register_version(
    name: str,
    model_uri: str,
    *,
    run_id: str,
    tags: dict[str, str] | None = None,
    description: str = "",
) -> RegisteredModel:
    """Register a logged model under `name`, unless one of its versions is that model already.

    Args:
        name: The registered model; created if missing.
        model_uri: The logged model, as `models:/m-…`.
        run_id: The run that logged it.
        tags: Tags of a new version.
        description: Markdown for the page of a new registered model.
    """
    client = connect()
    if (earlier := find_registered_version(name, model_uri)) is not None:
        return RegisteredModel(name=name, version=int(earlier.version), reused=True)
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=model_uri,
        run_id=run_id,
        tags=tags,
        model_id=model_uri.removeprefix("models:/"),
    ).version
    logger.info("registered %s version %s", name, version)
    return RegisteredModel(name=name, version=int(version))


def find_version(name: str, reference: str, *, parameter: str = "version") -> ModelVersion:
    """Return the version that a parameter's value names.

    Args:
        name: The registered model.
        reference: A number, an alias, `latest`, `models:/<name>/<number>` or
            `models:/<name>@<alias>`.
        parameter: The parameter that has `reference`, for the error.

    Raises:
        ParameterError: If there is no such version, or `reference` has another form or names
            another model.
    """
    client = connect()
    match = re.fullmatch(rf"(?:models:/{re.escape(name)}[/@])?([\w.-]+)", reference)
    if match is None:
        raise ParameterError(
            f"{parameter}: {reference!r}; expected a version, an alias, or a URI of {name} such as "
            f"models:/{name}/1"
        )
    wanted = match.group(1)
    try:
        if wanted.isdecimal():
            return client.get_model_version(name, wanted)
        if wanted == "latest":
            return _latest_version(name)
        return client.get_model_version_by_alias(name, wanted)
    except MlflowException as error:
        if is_transient(error):
            raise
        raise ParameterError(
            f"{parameter}: {name}: no version {reference!r}; {describe_versions(name)}"
        ) from error


def get_version(name: str, number: int) -> ModelVersion:
    """Return a version that was found or recorded before.

    Raises:
        ModelError: If it is gone.
    """
    try:
        return connect().get_model_version(name, str(number))
    except MlflowException as error:
        if is_transient(error):
            raise
        raise ModelError(f"{name}: no version {number}; {describe_versions(name)}") from error


def find_registered_version(name: str, model_uri: str) -> ModelVersion | None:
    """Return the version of `name` whose source is the logged model `models:/m-…`, if any."""
    connect()
    found = (version for version in _search_versions(name) if version.source == model_uri)
    return next(found, None)


def resolve_pipeline(model_uri: str, *, parameter: str = "model_uri") -> str:
    """Return `models:/<name>/<number>` for a reference to a full pipeline.

    Args:
        model_uri: `models:/<name>/<number>`, `models:/<name>@<alias>`, or a number or alias of
            `inference_pipeline_model`.
        parameter: The parameter that has `model_uri`, for the error.

    Raises:
        ModelError: If the version is a plain pipeline.
        ParameterError: If there is no such version, or the URI has another form.
    """
    name, reference = parse_pipeline_reference(model_uri, parameter=parameter)
    version = find_version(name, reference, parameter=parameter)
    if version.tags.get("kind") != "full":
        raise ModelError(f"{parameter}: {model_uri} is no full inference pipeline; expected one")
    return version_uri(version.name, version.version)


def get_aliases(name: str) -> dict[str, int]:
    """Return the aliases of a registered model, with the numbers of their versions."""
    registered = connect().get_registered_model(name)
    return {alias: int(version) for alias, version in registered.aliases.items()}


def describe_aliases(uri: str) -> str:
    """Return the aliases of the version at `models:/<name>/<number>`, as in `(champion)`."""
    wanted = RegisteredModel.from_uri(uri)
    found = [
        alias for alias, version in get_aliases(wanted.name).items() if version == wanted.version
    ]
    return f"({', '.join(found)})" if found else "(no alias)"


def previous_champion_number(name: str) -> int | None:
    """Return the version number of the previous champion, if any."""
    number = connect().get_registered_model(name).tags.get(PREVIOUS_TAG)
    return None if number is None else int(number)


def describe_versions(name: str) -> str:
    """Return the versions and aliases of a registered model in one line, for an error message."""
    numbers = sorted(int(version.version) for version in _search_versions(name))
    if not numbers:
        return "nothing is registered under that name yet"
    found = get_aliases(name)
    aliases = f"the aliases {found}" if found else "no alias"
    return f"there are the versions {numbers} and {aliases}"


def _search_versions(name: str) -> list[ModelVersion]:
    return mlflow.search_model_versions(filter_string=f"name = '{name}'")


def _latest_version(name: str) -> ModelVersion:
    versions = _search_versions(name)
    if not versions:
        raise MlflowException(f"no version of {name}")
    return max(versions, key=lambda version: int(version.version))
