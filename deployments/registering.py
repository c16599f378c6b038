"""What a Prefect server has to know: the work pool, the deployments and the automations."""

import subprocess
import sys

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from deployments.automations import create_automations
from deployments.services import POOL
from tasks.errors import MillstreamError
from tasks.settings import REPOSITORY, Settings, environment_with


def register(api: str, settings: Settings) -> None:
    """Make the work pool, the deployments of `prefect.yaml` and the automations, or update them.

    Args:
        api: Address of Prefect's API.
        settings: How many runs the pool has at a time, and who is notified.

    Raises:
        MillstreamError: If Prefect does not take a deployment.
    """
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        _make_pool(client, settings.concurrent_runs)
        _deploy(api)
        create_automations(client, settings)


def _make_pool(client: SyncPrefectClient, limit: int) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(
            name=POOL, type=ProcessWorker.type, base_job_template=template, concurrency_limit=limit
        )
        client.create_work_pool(pool)
    else:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=limit))


def _deploy(api: str) -> None:
    deployed = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
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
