"""Look-ups of a call, each in a thread of its own, and their tables when they are joined."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import pyarrow as pa

from .lookup import Lookup

Result = TypeVar("Result")


class PendingLookups:
    """Look-ups that run.

    Args:
        lookups: They, by name.
        columns: The input columns with their keys.
    """

    def __init__(
        self, lookups: Mapping[str, Lookup], columns: Mapping[str, Sequence[object]]
    ) -> None:
        self._futures = {
            name: _start(partial(lookup.run, columns[lookup.spec.key]))
            for name, lookup in lookups.items()
        }

    def join(self) -> dict[str, pa.Table]:
        """Wait for all."""
        return {name: future.result() for name, future in self._futures.items()}


def _start(work: Callable[[], Result]) -> Future[Result]:
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 -- the caller's thread raises it
            future.set_exception(error)

    # A daemon, and no pool: a query that hangs must not keep the process from its end.
    threading.Thread(target=run, name="millstream-lookup", daemon=True).start()
    return future
