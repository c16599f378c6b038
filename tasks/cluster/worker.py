"""What a worker of a cluster does: report whether it may score, and draft the shards of a group."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Status, Worker, get_worker
from distributed.worker import thread_state  # type: ignore[attr-defined]

from tasks.arms.types import ScoringModel
from tasks.cluster.mlflow_in_use import MlflowInUse
from tasks.cluster.source_digest import source_digest
from tasks.cluster.types import ShardGroup, WorkerCheck, WorkerReport
from tasks.common.cancellation import stop_when
from tasks.common.errors import MillstreamError, StoppedError
from tasks.common.progress import relay_progress
from tasks.common.task_errors import class_and_line, describe_error
from tasks.output.row_parameters import RowParameters
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.scoring.shard_scorer import draft_shard
from tasks.staging.publishing import DraftedShard, Drafts

logger = logging.getLogger(__name__)

TOKEN = "token"  # noqa: S105 -- the name of a file

_REPORT_INTERVAL_S = 0.5

_MLFLOW = MlflowInUse()

_PATIENCE_S = 60.0  # of shards whose worker loads the versions of a run with another MLflow


def check_worker(check: WorkerCheck) -> WorkerReport:
    """Report whether this worker may score for a run; the versions are loaded then.

    Args:
        check: What it is checked by.
    """
    worker = get_worker()
    try:
        refusal = _refusal(check)
    except MillstreamError as error:
        refusal = describe_error(error)
    except Exception as error:  # noqa: BLE001 -- whatever it is, this worker cannot score
        refusal = f"{class_and_line(error)}; expected no error"
    return WorkerReport(name=str(worker.name), threads=worker.state.nthreads, refusal=refusal)


def _refusal(check: WorkerCheck) -> str:
    """Return why this worker may not score, or an empty string.

    Raises:
        ClusterError: If it serves a run with another MLflow.
        ModelError: If a version cannot be loaded.
    """
    if (found := source_digest()) != check.source_digest:
        return (
            f"has other code, {found[:12]}; expected that of the driver, {check.source_digest[:12]}"
        )
    if (reason := _unshared(check)) != "":
        return reason
    parameters = check.parameters
    with _MLFLOW.at(check.tracking_uri):
        reasons = (_difference(model, parameters.rows) for model in parameters.models)
        return next(filter(None, reasons), "")


def _difference(expected: ScoringModel, rows: RowParameters) -> str:
    """Return how a version answers here otherwise than on the driver, or an empty string."""
    here = resolve_scoring_model(expected.uri, rows)
    if here.engine_in_words != expected.engine_in_words:
        why = f" ({here.fallback})" if here.fallback else ""
        return (
            f"{expected.uri} has the engine {here.engine_in_words}{why}; expected "
            f"{expected.engine_in_words}"
        )
    if here.fingerprint != expected.fingerprint:
        return (
            f"{expected.uri} has the fingerprint {here.fingerprint}; expected "
            f"{expected.fingerprint}, by the packages of constraints.txt"
        )
    return ""


def _unshared(check: WorkerCheck) -> str:
    """Return how the output folder is not the driver's, or an empty string."""
    output_dir = check.parameters.output_dir
    try:
        if (check.lease / TOKEN).read_text(encoding="utf-8") == check.token:
            with Drafts(check.lease).file("predictions") as draft:
                draft.touch()
            return ""
    except FileNotFoundError:
        pass
    except OSError as error:
        return f"cannot write to output_dir {output_dir} ({error.strerror}); expected that it can"
    return f"has no output_dir {output_dir} of the driver; expected that folder at the same path"


def draft_group(group: ShardGroup) -> tuple[DraftedShard, ...]:
    """Score the shards of a group, and write their drafts to the folder of its lease.

    Raises:
        ClusterError: If this worker serves a run with another MLflow.
        ModelError: If a version cannot be loaded.
        OSError: If a file fails.
        OutputError: If the output folder is full or may not be written.
        StoppedError: If the lease is gone, or the driver is.
    """
    is_over = _is_over(group.lease)
    with (
        _MLFLOW.at(group.tracking_uri, _PATIENCE_S),
        stop_when(is_over),
        relay_progress(_Reporter(group)),
    ):
        try:
            return tuple(
                draft_shard(leased.shard, leased.staged, group.parameters, Drafts(group.lease))
                for leased in group.shards
            )
        except FileNotFoundError as error:
            if not is_over():
                raise
            raise StoppedError(f"{group.name}: is to be scored no more") from error


def _is_over(lease: Path) -> Callable[[], bool]:
    """Return what says whether a group is to be scored no more.

    The scheduler takes back the task of a driver that went away, which cannot take its leases, and
    gives the task of a worker that ends to another one.
    """
    worker, key = get_worker(), thread_state.key

    def is_over() -> bool:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status != Status.running:
            return True
        try:
            return not lease.is_dir()
        except OSError:  # of a network file system that lost the folder
            return True

    return is_over


class _Reporter:
    """Reports to the driver how many rows of a group are scored, now and then.

    A message has the sum, so that one that is lost does no harm, and starts with each attempt anew.
    """

    def __init__(self, group: ShardGroup) -> None:
        self._worker: Worker = get_worker()
        self._group = group
        self._lock = threading.Lock()
        self._rows = 0
        self._reported = time.monotonic()

    def advance(self, rows: int) -> None:
        """Add scored rows; a negative number takes back those of a shard that failed."""
        with self._lock:
            self._rows += rows
            if time.monotonic() - self._reported < _REPORT_INTERVAL_S:
                return
            self._reported = time.monotonic()
        message = {"group": self._group.key, "rows": self._rows}
        self._worker.log_event(self._group.topic, message)
