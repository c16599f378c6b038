"""How tasks fail: when they are retried, and errors that quote no row of the user."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from tasks.common.errors import MillstreamError, TransientDownloadError, UnexpectedError
from tasks.common.settings import REPOSITORY

MAX_RETRY_AFTER_S = 60.0  # a server that asks for more is not asked again

_TASKS = REPOSITORY / "tasks"


class RetryPolicy(TypedDict):
    """The arguments of Prefect's `@task` that say how often, when and why it is retried."""

    retries: int
    retry_delay_seconds: float | list[float] | Callable[[int], list[float]]
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


def is_retryable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether a failure may be transient; wrong input, parameters and models are not.

    After a broken download this waits as long as the server asked for: a task cannot set the
    delay of its next attempt in any other way. Prefect asks only while retries are left, so no
    time is lost after the last one; its own delay comes on top.
    """
    error = state.data
    if not isinstance(error, TransientDownloadError):
        return isinstance(error, UnexpectedError) or not isinstance(error, MillstreamError)
    if error.retry_after_s > MAX_RETRY_AFTER_S:
        return False
    time.sleep(error.retry_after_s)
    return True


def _policy(
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


RETRY_ONCE = _policy(1)
RETRY_FILE_ACCESS = _policy(2, [1.0, 10.0])
RETRY_LONG_WORK = _policy(2, 5.0)
RETRY_MLFLOW = _policy(3, 5.0)
# Longer than MLflow waits for a locked SQLite file, 20 s.
RETRY_BUSY_MLFLOW = _policy(4, [5.0, 20.0, 20.0, 20.0])
# After 1, 2, 4, 8 and 16 s, each times 0.6 to 1.5.
RETRY_DOWNLOAD = _policy(5, exponential_backoff(1), jitter=0.5)


def describe_error(error: object) -> str:
    """Return an error in one line: the message of ours; of others the class and OS message."""
    if isinstance(error, MillstreamError):
        return " ".join(str(error).split())
    reason = error.strerror if isinstance(error, OSError) else None
    return ": ".join(filter(None, (type(error).__name__, reason)))


def class_and_line(error: BaseException) -> str:
    """Return the class of an error and the line of ours that it passed last, without its message.

    For example `KeyError, line 17 of planning.py`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_TASKS)]
    line = f", line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else ""
    return f"{type(error).__name__}{line}"


@contextmanager
def redacted_errors(name: str) -> Iterator[None]:
    """Replace errors of other packages in the block, which may quote a row, by one without text.

    Prefect logs and stores what a task raises. Errors of the system, which name a file, stay.

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
