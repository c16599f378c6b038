"""MLflow's model registry: versions, aliases, and who becomes champion."""

import json
import logging
import re

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.common.errors import ModelError, ParameterError
from tasks.events import announce_champion
from tasks.pipelines import parse_pipeline_reference
from tasks.tracking import connect, may_pass
from tasks.training import RegisteredModel

logger = logging.getLogger(__name__)

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"

PREVIOUS_TAG = "previous_champion"
# On a version whose promotion is under way: the champion before it, or nothing if there was none.
_PENDING_TAG = "promotion_pending"


def register(
    name: str, model_uri: str, *, run_id: str, tags: dict[str, str] | None = None
) -> RegisteredModel:
    """Register a logged model under `name`, unless one of its versions is that model already.

    Args:
        name: The registered model; made if missing.
        model_uri: The logged model, as `models:/m-…`.
        run_id: The run that logged it.
        tags: Tags of a new version.
    """
    client = connect()
    if (earlier := version_of(name, model_uri)) is not None:
        return RegisteredModel(name=name, version=int(earlier.version), reused=True)
    try:
        client.create_registered_model(name)
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
    """Return the version that `reference` means.

    Args:
        name: The registered model.
        reference: A number, an alias, `latest`, `models:/<name>/<number>` or
            `models:/<name>@<alias>`.
        parameter: Where `reference` was given, for the error.

    Raises:
        ModelError: If there is no such version.
        ParameterError: If `reference` is of another form or names another model.
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
            return _latest(client, name)
        return client.get_model_version_by_alias(name, wanted)
    except MlflowException as error:
        if may_pass(error):
            raise
        raise ModelError(
            f"{name}: no version {reference!r}; {_what_exists(client, name)}"
        ) from error


def version_of(name: str, model_uri: str) -> ModelVersion | None:
    """Return the version of `name` that is the logged model `models:/m-…`, if there is one."""
    for version in connect().search_model_versions(f"name = '{name}'"):
        if version.source == model_uri:
            return version
    return None


def resolve_pipeline(model_uri: str) -> str:
    """Return `models:/<name>/<number>` for what means a version that holds a full pipeline.

    Args:
        model_uri: `models:/<name>/<number>`, `models:/<name>@<alias>`, or a number or alias of
            `inference_pipeline_model`.

    Raises:
        ModelError: If there is no such version, or it is a plain pipeline.
        ParameterError: If the URI is of another form.
    """
    version = find_version(*parse_pipeline_reference(model_uri))
    if version.tags.get("kind") != "full":
        raise ModelError(f"model_uri: {model_uri} is no full inference pipeline; expected one")
    return f"models:/{version.name}/{version.version}"


def aliases(name: str) -> dict[str, int]:
    """Return the aliases of a registered model and the versions they name."""
    registered = connect().get_registered_model(name)
    return {alias: int(version) for alias, version in registered.aliases.items()}


def aliases_of(uri: str) -> str:
    """Return the aliases of the version at `models:/<name>/<number>`, as words."""
    name, number = uri.removeprefix("models:/").split("/")
    found = [alias for alias, version in aliases(name).items() if version == int(number)]
    return f"({', '.join(found)})" if found else "(no alias)"


def set_champion(name: str, version: ModelVersion, reason: str) -> None:
    """Give `version` the alias champion; remember the one before it; say why on the version.

    If it was not champion before, that is announced; see `tasks.events`. Whatever ends this early,
    calling it again does the rest: announcing a second time only if it ended between the
    announcement and the note of it.
    """
    client = connect()
    number = int(version.version)
    present = aliases(name)
    replaced = version.tags.get(_PENDING_TAG)
    if (current := present.get(CHAMPION)) != number:
        replaced = str(current or "")
        client.set_model_version_tag(name, str(number), _PENDING_TAG, replaced)
    client.set_model_version_tag(name, str(number), "promotion_reason", reason)
    _set_alias(client, version, CHAMPION)
    logger.info("%s version %s is champion: %s", name, number, reason)
    # `previous` and `challenger` mean the same version until all else is done.
    if replaced is not None:
        announce_champion(name, number, reason)
        if replaced:
            client.set_registered_model_tag(name, PREVIOUS_TAG, replaced)
    if present.get(CHALLENGER) == number:
        client.delete_registered_model_alias(name, CHALLENGER)
    if replaced is not None:
        client.delete_model_version_tag(name, str(number), _PENDING_TAG)


def previous_champion(name: str) -> ModelVersion:
    """Return the version that was champion before the present one.

    Raises:
        ModelError: If there has been none.
    """
    number = connect().get_registered_model(name).tags.get(PREVIOUS_TAG)
    if number is None:
        raise ModelError(f"{name}: there is no previous champion; {_what_exists(connect(), name)}")
    return find_version(name, number)


def set_challenger(name: str, version: ModelVersion, reason: str) -> None:
    """Give `version` the alias challenger and say why on it."""
    client = connect()
    client.set_model_version_tag(name, version.version, "promotion_reason", reason)
    _set_alias(client, version, CHALLENGER)
    logger.info("%s version %s is challenger: %s", name, version.version, reason)


def labels_of(version: ModelVersion) -> list[str]:
    """Return the label names that a pipeline version answers with."""
    labels: list[str] = json.loads(version.tags["labels"])
    return labels


def _set_alias(client: MlflowClient, version: ModelVersion, alias: str) -> None:
    """Move `alias` to the fine-tuned version inside a pipeline version, and then to that."""
    name, number = version.tags["finetuned_model_uri"].removeprefix("models:/").split("/")
    client.set_registered_model_alias(name, alias, number)
    client.set_registered_model_alias(version.name, alias, version.version)


def _latest(client: MlflowClient, name: str) -> ModelVersion:
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        raise MlflowException(f"no version of {name}")
    return max(versions, key=lambda version: int(version.version))


def _what_exists(client: MlflowClient, name: str) -> str:
    numbers = sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))
    if not numbers:
        return "nothing is registered under that name yet"
    return f"there are the versions {numbers} and the aliases {aliases(name)}"
