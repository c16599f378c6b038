"""Two machines, or two state folders, on one Prefect server."""

from contextlib import suppress
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL

from deployments.server import ownership, registration
from deployments.services.definitions import POOL, services_of, worker_name
from tasks.common.errors import ParameterError
from tasks.common.settings import Settings, get_settings
from tests.support.builders import use_home

OTHER = "millstream-elsewhere-0123abcd"


def heartbeat(worker: str) -> None:
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        client.send_worker_heartbeat(POOL, worker)


@pytest.mark.slow
def test_the_deployments_of_another_folder_are_not_replaced_while_its_worker_runs(
    prefect_harness: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = str(PREFECT_API_URL.value())
    monkeypatch.setenv("PREFECT_API_URL", api)
    get_settings.cache_clear()
    with get_client(sync_client=True) as client:
        with suppress(ObjectNotFound):
            client.delete_work_pool(POOL)
        ownership.check_owner(client, api, get_settings())
    with pytest.raises(ParameterError, match=f"^JOIN: {api} has no work pool {POOL}; expected"):
        ownership.check_joinable(api)
    # Neither its own worker nor one that a user started is another's.
    for worker in (worker_name(get_settings()), "ProcessWorker 1", "worker"):
        heartbeat(worker)
    ownership.check_joinable(api)
    with get_client(sync_client=True) as client:
        ownership.check_owner(client, api, get_settings())
    heartbeat(OTHER)
    with pytest.raises(ParameterError, match=f"^PREFECT_API_URL: {api} .* the worker {OTHER}; exp"):
        registration.register_deployments(api, get_settings())


def test_each_state_folder_has_a_worker_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for folder in ("first", "second"):
        use_home(tmp_path / folder, monkeypatch)
        name = worker_name(Settings())
        assert name in services_of(Settings())[-1].command
        names.add(name)
    assert len(names) == 2
