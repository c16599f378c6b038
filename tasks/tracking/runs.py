"""MLflow runs end as what they stand for: finished, failed or killed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException

from tasks.common.errors import MillstreamError
from tasks.common.task_errors import class_and_line, describe_error

logger = logging.getLogger(__name__)

# The tag of a run that is complete, and whose flow fails all the same.
FAILED_BECAUSE = "failed_because"

FINISHED, FAILED, KILLED = map(
    RunStatus.to_string, (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)
)

_LONGEST_TAG = 5_000  # servers of before refuse more


@contextmanager
def killed_if_interrupted(run: mlflow.ActiveRun) -> Iterator[mlflow.ActiveRun]:
    """End an active run with the block: as MLflow does, and as killed if a signal ends it.

    MLflow knows no other end than finished and failed.
    """
    with run:
        try:
            yield run
        except Exception:
            raise
        except BaseException:
            try:
                mlflow.end_run(KILLED)
            except MlflowException as error:
                _warn(run.info.run_id, KILLED, error)
            raise


def end_as_failed(reason: str) -> None:
    """End the active run, which is complete, as failed.

    Args:
        reason: Why its flow fails, in one line.
    """
    mlflow.set_tag(FAILED_BECAUSE, reason[:_LONGEST_TAG])
    mlflow.end_run(FAILED)


@contextmanager
def failed_if_refused(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Let a run that has ended be failed if the block refuses what it made, and finished if not.

    Args:
        client: A client.
        run_id: The run.
    """
    try:
        yield
    except MillstreamError as refusal:
        try:
            client.set_tag(run_id, FAILED_BECAUSE, describe_error(refusal)[:_LONGEST_TAG])
            client.set_terminated(run_id, FAILED)
        except MlflowException as error:
            _warn(run_id, FAILED, error)
        raise
    if FAILED_BECAUSE in client.get_run(run_id).data.tags:  # refused before
        client.delete_tag(run_id, FAILED_BECAUSE)
        client.set_terminated(run_id, FINISHED)


def is_complete(run: Run) -> bool:
    """Return whether all of a run was logged, whether its flow failed or not."""
    return run.info.status == FINISHED or FAILED_BECAUSE in run.data.tags


def _warn(run_id: str, status: str, error: MlflowException) -> None:
    logger.warning("run %s does not end as %s (%s)", run_id, status, class_and_line(error))
