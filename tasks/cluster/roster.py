"""The workers of a cluster that may score: each is checked before it gets shards."""

import logging
import time
from uuid import uuid4

from distributed import Future
from prefect_dask.client import PrefectDaskClient

from tasks.cluster.types import WorkerCheck, WorkerReport
from tasks.cluster.worker import check_worker
from tasks.common.errors import ClusterError

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0  # without any worker
_POLL_S = 0.2


class Roster:
    """Knows the workers that may score, also of those that join while a run scores.

    Args:
        client: Connected to the scheduler.
        check: What a worker is checked by.

    Attributes:
        accepted: The workers that may score, by their addresses.
        refused: Why the others may not.
    """

    def __init__(self, client: PrefectDaskClient, check: WorkerCheck) -> None:
        self._client = client
        self._check = check
        self._checking: dict[str, Future[WorkerReport]] = {}
        self.accepted: dict[str, WorkerReport] = {}
        self.refused: dict[str, str] = {}

    @property
    def threads(self) -> int:
        """Groups of shards that the workers score at a time."""
        return sum(report.threads for report in self.accepted.values())

    def refresh(self) -> None:
        """Drop the workers that are gone, and check those that are new.

        Raises:
            ClusterError: If the scheduler does not answer.
        """
        try:
            if self._client.status != "running":
                raise ConnectionError
            alive = set(self._client.nthreads())
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                "runner: the scheduler is gone; expected one that answers"
            ) from error
        for address in self.accepted.keys() - alive:
            logger.warning("worker %s is gone", self.accepted.pop(address).name)
        for address in alive - self.accepted.keys() - self.refused.keys() - self._checking.keys():
            self._begin_check(address)
        for address, future in list(self._checking.items()):
            if address not in alive or future.done():
                del self._checking[address]
                self._take_report(address, future)

    def check_again(self) -> None:
        """Check the workers that may score once more: one may see the output folder no longer."""
        for address in self.accepted.keys() - self._checking.keys():
            self._begin_check(address)

    def wait_for_workers(self) -> None:
        """Wait until a worker may score.

        Raises:
            ClusterError: If there is none for a minute, or none of them may.
        """
        since = time.monotonic()
        while True:
            self.refresh()
            if self.accepted:
                return
            if self.refused and not self._checking:
                raise ClusterError(
                    f"runner: none of {len(self.refused)} workers may score; the first "
                    f"{next(iter(self.refused.values()))}"
                )
            if not self._checking and time.monotonic() - since > PATIENCE_S:
                scheduler = self._client.scheduler_info(n_workers=0)["address"]
                raise ClusterError(
                    f"runner: no worker within {PATIENCE_S:.0f} s; expected one, by python -m "
                    f"deployments.cluster_worker {scheduler}"
                )
            time.sleep(_POLL_S)

    def wait_for_reports(self) -> None:
        """Wait until each worker that is there is checked, for a minute at most.

        Raises:
            ClusterError: If the scheduler does not answer.
        """
        since = time.monotonic()
        while self._checking and time.monotonic() - since < PATIENCE_S:
            time.sleep(_POLL_S)
            self.refresh()
        for address in self._checking:
            logger.warning(
                "worker at %s has not answered for %.0f s, and is not used until it does",
                address,
                PATIENCE_S,
            )

    def _begin_check(self, address: str) -> None:
        self._checking[address] = self._client.submit(
            check_worker,
            self._check,
            key=f"check-worker-{uuid4()}",
            workers=[address],
            pure=False,
        )

    def _take_report(self, address: str, future: "Future[WorkerReport]") -> None:
        if future.status != "finished":
            if address not in self.accepted:
                logger.warning("worker at %s is gone before it was checked", address)
            return
        report = future.result()
        if not report.refusal:
            if address not in self.accepted:
                logger.info("worker %s scores with %d threads", report.name, report.threads)
            self.accepted[address] = report
            return
        self.accepted.pop(address, None)
        self.refused[address] = f"worker {report.name}: {report.refusal}"
        logger.warning("not used: %s", self.refused[address])
