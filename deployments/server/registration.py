"""What a Prefect server has to know: the work pool, the deployments and the automations."""

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

from deployments.check_config import PROJECT_FILE
from deployments.server.automations import create_automations
from deployments.services.definitions import POOL
from tasks.common.environment import environment_with
from tasks.common.errors import MillstreamError
from tasks.common.settings import REPOSITORY, Settings

# A variable of Prefect's. What others deploy to the pool is not in it, and stays.
_REGISTERED = "millstream_deployments"


def register(api: str, settings: Settings, project_file: Path = PROJECT_FILE) -> None:
    """Make the work pool, the deployments of `prefect.yaml` and the automations, or update them.

    What was registered before and the file no longer has is removed.

    Args:
        api: Address of Prefect's API.
        settings: How many runs the pool has at a time, and who is notified.
        project_file: The `prefect.yaml`.

    Raises:
        MillstreamError: If Prefect does not take a deployment.
    """
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        _make_pool(client, settings.concurrent_runs)
        _deploy(api, project_file)
        _remove_former(client, project_file)
        create_automations(client, settings)


def _make_pool(client: SyncPrefectClient, limit: int) -> None:
    template = ProcessWorker.get_default_base_job_template()
    # A run whose output the worker reads ends as soon as it writes after the worker was killed.
    template["variables"]["properties"]["stream_output"]["default"] = False
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=POOL, type=ProcessWorker.type, base_job_template=template, concurrency_limit=limit
        )
        client.create_work_pool(pool)
    else:
        update = WorkPoolUpdate(base_job_template=template, concurrency_limit=limit)
        client.update_work_pool(POOL, update)


def _deploy(api: str, project_file: Path) -> None:
    command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(project_file)]
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


def _remove_former(client: SyncPrefectClient, project_file: Path) -> None:
    """Remove the deployments that the file had before: their schedules and triggers would go on."""
    project = yaml.safe_load(project_file.read_text(encoding="utf-8"))
    wanted = {(found["entrypoint"], found["name"]) for found in project["deployments"]}
    names = DeploymentFilterName(any_=sorted({name for _, name in wanted}))
    registered = {
        str(found.id): f"{found.name} of {found.entrypoint}"
        for found in client.read_deployments(deployment_filter=DeploymentFilter(name=names))
        if (found.entrypoint, found.name) in wanted
    }
    known = client.read_variable_by_name(_REGISTERED)
    former = cast("dict[str, str]", known.value) if known else {}
    for identity in former.keys() - registered.keys():
        _remove(client, UUID(identity), former[identity])
    if known is None:
        client.create_variable(VariableCreate(name=_REGISTERED, value=registered))
    elif former != registered:
        client.update_variable(VariableUpdate(name=_REGISTERED, value=registered))


def _remove(client: SyncPrefectClient, deployment: UUID, name: str) -> None:
    client.delete_resource_owned_automations(f"prefect.deployment.{deployment}")
    with suppress(ObjectNotFound):  # somebody removed it before
        client.delete_deployment(deployment)
        sys.stderr.write(f"removed the deployment {name}, which prefect.yaml no longer has\n")
