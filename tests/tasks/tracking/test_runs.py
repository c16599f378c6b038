"""How runs of MLflow end."""

import mlflow
import pytest

from tasks.common.errors import ModelError
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.runs import FAILED_BECAUSE, failed_if_refused, killed_if_interrupted

pytestmark = pytest.mark.usefixtures("new_database")


@pytest.mark.parametrize(
    ("raised", "status"),
    [(KeyboardInterrupt, "KILLED"), (ModelError, "FAILED"), (None, "FINISHED")],
)
def test_a_run_ends_as_its_block_does(raised: type[BaseException] | None, status: str) -> None:
    client = connect()
    active = mlflow.start_run(experiment_id=ensure_experiment("e"))
    try:
        with killed_if_interrupted(active):
            if raised:
                raise raised
    except (KeyboardInterrupt, ModelError):
        assert raised
    assert client.get_run(active.info.run_id).info.status == status


def test_a_run_whose_model_is_refused_has_failed_until_it_is_accepted() -> None:
    client = connect()
    with mlflow.start_run(experiment_id=ensure_experiment("e")) as active:
        pass
    run_id = active.info.run_id
    with pytest.raises(ModelError), failed_if_refused(client, run_id):
        raise ModelError("models:/m-1: other scores")
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags[FAILED_BECAUSE]) == (
        "FAILED",
        "models:/m-1: other scores",
    )
    with failed_if_refused(client, run_id):
        pass
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert FAILED_BECAUSE not in run.data.tags
