"""Which failures of a task are worth another attempt."""

import time
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from tasks.errors import MillstreamError, TransientDownloadError, UnexpectedError

MAX_RETRY_AFTER_S = 60.0  # a server that asks for more is not asked again


def unless_refused(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect to retry what may go away; bad input, parameters and models do not.

    After a broken transfer this waits as long as the server asked for: a task cannot set the
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
