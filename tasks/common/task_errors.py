"""Tasks: plain functions outside a run, retries, errors that quote no row, failures of flows."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypedDict, TypeVar, cast
from uuid import UUID

from prefect import Flow, Task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from pyfunc.errors import ArtifactError
from tasks.common.errors import (
    MillstreamError,
    TransientDeliveryError,
    TransientDownloadError,
    UnexpectedError,
)
from tasks.common.settings import REPOSITORY
from tasks.common.text import escape_markdown

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

MAX_RETRY_AFTER_S = 60.0  # if a server requests a longer wait, there is no retry

_TASKS = REPOSITORY / "tasks"


class Step(Task[Parameters, Result]):
    """A task that outside a flow run is its plain function, which needs no Prefect server."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, or call its function where no flow runs; then nothing is retried."""
        if FlowRunContext.get() is None:
            return self.fn(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def step(
    **options: Any,
) -> Callable[[Callable[Parameters, Result]], Task[Parameters, Result]]:
    """Return a decorator that makes a `Step` of a function; the options are those of `@task`."""
    return lambda function: Step(function, **options)


class RetryPolicy(TypedDict):
    """The retry arguments of Prefect's `@task`."""

    retries: int
    retry_delay_seconds: float | list[float] | Callable[[int], list[float]]
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


def is_retryable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether a failure may be transient; wrong input, parameters and models are not.

    After a broken download this sleeps as long as the server requested, since a task cannot set
    the delay of its next attempt. Prefect calls it only while retries are left, and adds its own
    delay.
    """
    error = state.data
    if isinstance(error, TransientDeliveryError):
        return error.is_retried
    if not isinstance(error, TransientDownloadError):
        lasting = isinstance(error, MillstreamError | ArtifactError)
        return isinstance(error, UnexpectedError) or not lasting
    if error.retry_after_s > MAX_RETRY_AFTER_S:
        return False
    time.sleep(error.retry_after_s)
    return True


def _retry_policy(
    retries: int,
    delay_s: float | list[float] | Callable[[int], list[float]] = 0.0,
    jitter: float | None = None,
) -> RetryPolicy:
    return RetryPolicy(
        retries=retries,
        retry_delay_seconds=delay_s,
        retry_jitter_factor=jitter,
        retry_condition_fn=is_retryable,
    )


RETRY_ONCE = _retry_policy(1)
RETRY_FILE_ACCESS = _retry_policy(2, [1.0, 10.0])
RETRY_LONG_WORK = _retry_policy(2, 5.0)
RETRY_MLFLOW = _retry_policy(3, 5.0)
# Longer than MLflow waits for a locked SQLite file, 20 s.
RETRY_BUSY_MLFLOW = _retry_policy(4, [5.0, 20.0, 20.0, 20.0])
# Long enough for a database server to start again.
_DELIVERY_DELAYS_S = [1.0, 5.0, 20.0, 60.0]
RETRY_DELIVERY = _retry_policy(len(_DELIVERY_DELAYS_S), _DELIVERY_DELAYS_S)
# After 1, 2, 4, 8 and 16 s, each times 0.6 to 1.5.
RETRY_DOWNLOAD = _retry_policy(5, exponential_backoff(1), jitter=0.5)


def describe_error(error: object) -> str:
    """Return an error in one line: our own message, or the class and OS message of others."""
    if isinstance(error, MillstreamError):
        return " ".join(str(error).split())
    reason = error.strerror if isinstance(error, OSError) else None
    return ": ".join(filter(None, (type(error).__name__, reason)))


def class_and_line(error: BaseException) -> str:
    """Return the class of an error and our last line in its traceback, without its message.

    For example `KeyError, line 17 of tasks/scoring/planning.py`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_TASKS)]
    line = (
        f", line {own[-1].lineno} of {Path(own[-1].filename).relative_to(REPOSITORY)}"
        if own
        else ""
    )
    return f"{type(error).__name__}{line}"


@contextmanager
def redacted_errors(name: str) -> Iterator[None]:
    """Replace errors of other packages in the block, which may quote a row, by one without text.

    Prefect logs and stores the errors of tasks. Errors of the operating system, which name a
    file, stay.

    Args:
        name: The file or shard that the error names.

    Raises:
        UnexpectedError: If another package raises; it has the same traceback.
    """
    try:
        yield
    except MillstreamError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        plain = UnexpectedError(f"{name}: {class_and_line(error)}; expected no error")
        raise plain.with_traceback(error.__traceback__) from None


# Of each flow run and table: since when no task reached it.
_away_since: dict[tuple[UUID | None, str], float] = {}


@contextmanager
def redacted_delivery_errors(target: str, name: str) -> Iterator[None]:
    """Redact errors as `redacted_errors`, and retry no more if a table was away for long enough.

    Each task of a run would wait for a database that is away as long as the first one did, and
    keep a thread from look-ups meanwhile.

    Args:
        target: The table, which the block reaches unless it raises.
        name: What an error names.

    Raises:
        UnexpectedError: If another package raises.
    """
    context = TaskRunContext.get()
    key = (context.task_run.flow_run_id if context else None, target)
    try:
        with redacted_errors(name):
            yield
    except TransientDeliveryError as error:
        since = _away_since.setdefault(key, time.monotonic())
        error.is_retried = time.monotonic() - since < sum(_DELIVERY_DELAYS_S)
        raise
    _away_since.pop(key, None)


def reporting_failures(flow: Flow[Parameters, Result]) -> Flow[Parameters, Result]:
    """Let a run that fails with one of our errors have its one line as state message and artifact.

    Prefect would put the line behind words of its own, and a traceback behind the line. A caller of
    the flow gets the error.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_without_known_traceback)
    function = flow.fn

    @wraps(function)
    def reporting(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except MillstreamError as error:
            if FlowRunContext.get() is None:
                raise
            reason = describe_error(error)
            _create_failure_artifact(reason)
            # A state, which Prefect keeps for itself, whatever its type says here.
            return cast("Result", Failed(message=reason, data=error))

    # Not around the function of `@flow`: Prefect takes the file of that for the flow's version.
    flow.fn = reporting
    return flow


def _without_known_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback of one of our errors from a record; drop what only says that it ended."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, MillstreamError) or isinstance(error, UnexpectedError):
        return True
    record.exc_info = None
    return "exited with unexpected exception" not in record.getMessage()


def _create_failure_artifact(reason: str) -> None:
    try:
        create_markdown_artifact(
            key="failure",
            markdown=f"# Failed\n\n{escape_markdown(reason)}",
            description="Why the run failed",
        )
    except Exception as error:  # noqa: BLE001 -- the run ends for its own reason, not for this one
        logger.warning("the artifact failure is not made (%s)", class_and_line(error))
