"""`python -m deployments.cluster_worker ADDRESS`: score for a Dask cluster, until Ctrl-C."""

import asyncio
import logging
import signal
import socket
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field

from flows.parameters import described
from tasks.cluster.addresses import check_runner
from tasks.common.errors import ClusterError, ParameterError
from tasks.common.parameter_types import about
from tasks.common.settings import get_settings
from tasks.scoring.task_runner import default_workers
from tasks.scoring.types import THREADS

if TYPE_CHECKING:
    from distributed import Worker

logger = logging.getLogger("tasks.cluster")

SchedulerAddress = Annotated[
    str,
    about(
        "Address of the scheduler: tcp://127.0.0.1:8786 on this machine, or tls://host:8786 with "
        "the certificates that DASK_DISTRIBUTED__COMM__TLS__* name."
    ),
]
ScoringThreads = Annotated[
    int, about("Shards that it scores at a time; 0 takes one a core, up to eight."), Field(ge=0)
]
WorkerHost = Annotated[
    str,
    about("Address that it listens on; empty takes the one from which it reaches the scheduler."),
]
WorkerName = Annotated[
    str, about("Its name, of which the scheduler takes one at a time; empty takes the machine's.")
]


@described
def cluster_worker(
    scheduler: SchedulerAddress,
    threads: ScoringThreads = 0,
    host: WorkerHost = "",
    name: WorkerName = "",
) -> None:
    """Score shards for runs that have the scheduler as their runner, until Ctrl-C.

    Start one on each machine: several processes of one machine are slower than threads of one.
    """
    check_runner(scheduler, "scheduler")
    if scheduler == THREADS:
        raise ParameterError(f"scheduler: {THREADS}; expected the address of a Dask scheduler")
    # Imported here: it is heavy, and `--help` needs none of it.
    from distributed import Worker
    from distributed.utils import get_ip

    import tasks.cluster.worker  # noqa: F401 -- the first task would wait for torch and MLflow

    place = urlsplit(scheduler)

    async def work() -> None:
        worker = Worker(
            scheduler,
            nthreads=threads or default_workers(),
            host=host or get_ip(place.hostname, place.port),
            name=name or socket.gethostname(),
            protocol=place.scheme,
            # It holds no data for Dask, which would pause it for what models take.
            memory_limit=0,
            local_directory=str(get_settings().root / "dask"),
            dashboard=False,
            # Its pages of metrics and logs, which ask for no certificate.
            dashboard_address="127.0.0.1:0",
        )
        await _run_until_signal(worker)

    asyncio.run(work())


async def _run_until_signal(worker: "Worker") -> None:
    """Run a worker until a signal comes, which gives back the shards that it has.

    Raises:
        ClusterError: If it cannot start, or the scheduler has it no longer.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    stop, start = asyncio.create_task(stopped.wait()), asyncio.create_task(_start(worker))
    # It waits for a scheduler for as long as there is none.
    await asyncio.wait({stop, start}, return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        return
    await start
    async with worker:
        logger.info("worker %s at %s", worker.name, worker.address)
        finished = asyncio.create_task(worker.finished())
        await asyncio.wait({stop, finished}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.is_set():
            raise ClusterError(
                "scheduler: is gone, or has dropped this worker; expected that the worker is "
                "started again"
            )
        await worker.close_gracefully(reason="signal")


async def _start(worker: "Worker") -> None:
    try:
        await worker
    except RuntimeError as error:
        cause = error.__cause__ or error
        raise ClusterError(
            f"name: {worker.name} did not start ({type(cause).__name__}: {cause}); expected a "
            "name that no other worker has, and an address of this machine as host"
        ) from error


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(cluster_worker)
