"""What a simulation is given and returns: costs of each part, machines, work."""

from collections.abc import Iterator
from dataclasses import dataclass

DRIVER, SCHEDULER, SERVER, REGISTRY, WORKERS = (
    "driver",
    "scheduler",
    "server",
    "registry",
    "workers",
)
PARTS = (DRIVER, SCHEDULER, SERVER, REGISTRY, WORKERS)

MOST_SHARDS = 100  # of a task, as in tasks.cluster.shard_groups


@dataclass(frozen=True)
class Costs:
    """CPU seconds of each part.

    Attributes:
        driver_run: The driver a run: imports, its own model, the summary.
        driver_file: The driver a file.
        driver_survey_row: The driver a row, to survey it.
        driver_row: The driver a row, to read it again and to stage it.
        driver_task: The driver a task, to submit it and to take its result.
        driver_shard: The driver a shard, to publish it.
        scheduler_run: Dask's scheduler before the first task, whose code it imports.
        scheduler_task: The same a task.
        server_run: Prefect's server a run.
        server_task: Prefect's server a task.
        registry_load: MLflow's server each time that a process loads the model.
        worker_load: A worker, to check itself and load the model, once a run.
        worker_task: A worker a task, whatever is in it.
        worker_row: A worker a row.
        waiting_run: Seconds of a run in which nobody computes; of the clock, not of a CPU.
    """

    driver_run: float = 0.0
    driver_file: float = 0.0
    driver_survey_row: float = 0.0
    driver_row: float = 0.0
    driver_task: float = 0.0
    driver_shard: float = 0.0
    scheduler_run: float = 0.0
    scheduler_task: float = 0.0
    server_run: float = 0.0
    server_task: float = 0.0
    registry_load: float = 0.0
    worker_load: float = 0.0
    worker_task: float = 0.0
    worker_row: float = 0.0
    waiting_run: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Machines, and the processes on them.

    Attributes:
        cores: The cores of each machine.
        workers: The machine of each worker.
        threads: Tasks that a worker does at a time.
        streams: Cores that a worker uses for each of them.
        driver: The machine of the driver, as the next ones.
        scheduler: Of Dask's scheduler.
        server: Of Prefect's server.
        registry: Of MLflow's server.
    """

    cores: tuple[int, ...]
    workers: tuple[int, ...]
    threads: int = 1
    streams: int = 1
    driver: int = 0
    scheduler: int = 0
    server: int = 0
    registry: int = 0


def one_machine(cores: int, workers: int, threads: int = 1, streams: int = 1) -> Cluster:
    """Return a cluster whose processes all share the cores of one machine."""
    return Cluster(cores=(cores,), workers=(0,) * workers, threads=threads, streams=streams)


def own_machines(workers: int, threads: int) -> Cluster:
    """Return a cluster of which each worker, the driver and each server has its own machine.

    A worker has as many cores as threads; the others have one each, since they use no more.
    """
    return Cluster(
        cores=(1, 1, 1, 1, *(threads,) * workers),
        workers=tuple(range(4, 4 + workers)),
        threads=threads,
        scheduler=1,
        server=2,
        registry=3,
    )


@dataclass(frozen=True)
class Work:
    """What is scored: files of the same number of rows.

    Attributes:
        files: Number of files.
        rows: Rows of each file.
        shard_rows: Rows of a shard at most.
    """

    files: int
    rows: int
    shard_rows: int

    def shards(self) -> Iterator[int]:
        """Yield the rows of each shard, in order."""
        whole, rest = divmod(self.rows, self.shard_rows)
        for _ in range(self.files):
            yield from (self.shard_rows for _ in range(whole))
            if rest:
                yield rest


@dataclass(frozen=True)
class Simulated:
    """What became of a run.

    Attributes:
        wall_s: Seconds until the driver ends.
        settled_s: Seconds until the servers end as well what the run gave them.
        tasks: Tasks of workers.
        cpu_s: CPU seconds of each part.
        utilisation: CPU seconds of each part by those that it could have had until the driver
            ended; above 1, its work goes on afterwards.
        limit: The part with the highest utilisation, or the machine whose cores have a higher one.
    """

    wall_s: float
    settled_s: float
    tasks: int
    cpu_s: dict[str, float]
    utilisation: dict[str, float]
    limit: str
