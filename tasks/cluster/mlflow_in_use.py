"""The MLflow that a process uses: one at a time, since MLflow has one address a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.common.environment import set_tracking_uri
from tasks.common.errors import ClusterError
from tasks.common.settings import get_settings
from tasks.common.urls import redact_url


class MlflowInUse:
    """Lets threads share an MLflow, and use another one when none of them does."""

    def __init__(self) -> None:
        self._unused = threading.Condition()
        self._users = 0

    @contextmanager
    def at(self, uri: str, patience_s: float = 0.0) -> Iterator[None]:
        """Use the MLflow at `uri` in the block.

        Args:
            uri: Its address.
            patience_s: Seconds to wait while other threads use another one.

        Raises:
            ClusterError: If they still do then.
        """
        with self._unused:
            self._unused.wait_for(
                lambda: not self._users or get_settings().tracking_uri == uri, patience_s
            )
            present = get_settings().tracking_uri
            if present != uri:
                if self._users:
                    raise ClusterError(
                        f"serves a run with MLflow at {redact_url(present)}; expected one at "
                        f"{redact_url(uri)}, as all runs of a cluster at a time"
                    )
                set_tracking_uri(uri)
            self._users += 1
        try:
            yield
        finally:
            with self._unused:
                self._users -= 1
                self._unused.notify_all()
