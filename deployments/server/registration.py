"""Register the work pool, the deployments and the automations with a Prefect server."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import cast
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    VariableCreate,
    VariableUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker
from prefect_sqlalchemy import SqlAlchemyConnector

from deployments.check_config import PREFECT_FILE
from deployments.prefect_file.placeholders import read_yaml
from deployments.server.automations import create_automations
from deployments.server.ownership import check_owner, take_ownership
from deployments.services.definitions import POOL, uses_external_server
from tasks.common.environment import environment_with
from tasks.common.errors import MillstreamError
from tasks.common.files import published_file
from tasks.common.settings import REPOSITORY, Settings

# A Prefect variable with our deployments. Those that users deploy themselves are never removed.
_REGISTERED_VARIABLE = "millstream_deployments"


def register_deployments(api: str, settings: Settings, prefect_file: Path = PREFECT_FILE) -> None:
    """Create or update the work pool, the deployments of `prefect.yaml` and the automations.

    Deployments that were registered before and are no longer in the file are removed.

    Args:
        api: Address of Prefect's API.
        settings: The owner, and the notification URL.
        prefect_file: The `prefect.yaml`.

    Raises:
        ParameterError: If the server is shared, and the worker of another machine or state folder
            is online.
        MillstreamError: If Prefect rejects a deployment.
    """
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        if uses_external_server(settings):
            check_owner(client, api, settings)
        # Forms then offer it for the address of a database.
        SqlAlchemyConnector.register_type_and_schema()
        take_ownership(client, settings)
        _create_pool(client)
        _run_prefect_deploy(api, prefect_file, settings)
        _remove_obsolete(client, prefect_file)
        create_automations(client, settings)


def _create_pool(client: SyncPrefectClient) -> None:
    """Create or update the pool, which has no limit: each machine's worker has one."""
    template = ProcessWorker.get_default_base_job_template()
    # A run that streams its output to the worker dies at its next line after the worker is killed.
    template["variables"]["properties"]["stream_output"]["default"] = False
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        pool = WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template)
        client.create_work_pool(pool)
    else:
        update = WorkPoolUpdate(base_job_template=template, concurrency_limit=None)
        client.update_work_pool(POOL, update)


def _run_prefect_deploy(api: str, prefect_file: Path, settings: Settings) -> None:
    # Prefect would not know the placeholders of the project file.
    resolved = settings.services / "prefect.yaml"
    with published_file(resolved) as draft:
        draft.write_text(yaml.safe_dump(read_yaml(prefect_file), sort_keys=False), encoding="utf-8")
    command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(resolved)]
    deployed = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        env=environment_with({"PREFECT_API_URL": api}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if deployed.returncode != 0:
        reason = " ".join((deployed.stdout + deployed.stderr).split())
        raise MillstreamError(f"prefect.yaml: not deployed ({reason}); see make check-config")


def _remove_obsolete(client: SyncPrefectClient, prefect_file: Path) -> None:
    """Remove deployments that left the file: their schedules and triggers would stay active."""
    project = yaml.safe_load(prefect_file.read_text(encoding="utf-8"))
    wanted = {(found["entrypoint"], found["name"]) for found in project["deployments"]}
    names = DeploymentFilterName(any_=sorted({name for _, name in wanted}))
    registered = {
        str(found.id): f"{found.name} of {found.entrypoint}"
        for found in client.read_deployments(deployment_filter=DeploymentFilter(name=names))
        if (found.entrypoint, found.name) in wanted
    }
    variable = client.read_variable_by_name(_REGISTERED_VARIABLE)
    previous = cast("dict[str, str]", variable.value) if variable else {}
    for identity in previous.keys() - registered.keys():
        _remove_deployment(client, UUID(identity), previous[identity])
    if variable is None:
        client.create_variable(VariableCreate(name=_REGISTERED_VARIABLE, value=registered))
    elif previous != registered:
        client.update_variable(VariableUpdate(name=_REGISTERED_VARIABLE, value=registered))


def _remove_deployment(client: SyncPrefectClient, deployment: UUID, name: str) -> None:
    client.delete_resource_owned_automations(f"prefect.deployment.{deployment}")
    with suppress(ObjectNotFound):  # already removed
        client.delete_deployment(deployment)
        sys.stderr.write(f"removed the deployment {name}, which prefect.yaml no longer has\n")
