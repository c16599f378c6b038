"""A scoring run on a cluster, simulated: who computes what, when, and who waits for whom.

It follows `tasks.scoring.shard_scheduler` and `tasks.cluster.cluster_pool`. It knows CPU time,
order and waiting, and neither networks nor disks nor faults.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.cluster.clock import Clock, Process, nothing
from benchmarks.cluster.parts import (
    DRIVER,
    MOST_SHARDS,
    PARTS,
    REGISTRY,
    SCHEDULER,
    SERVER,
    WORKERS,
    Cluster,
    Costs,
    Simulated,
    Work,
)


def simulate(costs: Costs, cluster: Cluster, work: Work) -> Simulated:
    """Simulate a run.

    Args:
        costs: CPU seconds of each part.
        cluster: Machines and processes.
        work: What is scored.

    Raises:
        ValueError: If there is no worker.
    """
    if not cluster.workers:
        raise ValueError("workers: none; expected the machine of one at least")
    run = _Run(costs, cluster, work)
    run.to_the_end()
    return run.result()


@dataclass
class _Group:
    """Shards that are scored as one task."""

    shards: int = 0
    rows: int = 0


class _Run:
    """The driver's steps, and what the other parts do for them."""

    def __init__(self, costs: Costs, cluster: Cluster, work: Work) -> None:
        self._costs, self._cluster, self._work = costs, cluster, work
        self._clock = Clock(cluster.cores)
        self._driver = Process(self._clock, cluster.driver)
        self._scheduler = Process(self._clock, cluster.scheduler)
        self._server = Process(self._clock, cluster.server)
        self._registry = Process(self._clock, cluster.registry)
        self._workers = [
            Process(self._clock, at, cluster.threads, cluster.streams) for at in cluster.workers
        ]
        # In turn, so that each worker has a task before one has two.
        self._idle = deque(self._workers * cluster.threads)
        self._ready: deque[_Group] = deque()
        self._ended: deque[_Group] = deque()
        self._open = _Group()
        self._in_flight = self._tasks = self._loaded = 0
        self._steps = self._drive()
        self._is_waiting = False

    def to_the_end(self) -> None:
        self._server.do(self._costs.server_run, nothing)
        self._go_on()
        self._clock.run()

    def result(self) -> Simulated:
        wall = self._driver.ended_s + self._costs.waiting_run
        processes = {part: [process] for part, process in self._single().items()}
        processes[WORKERS] = self._workers
        cpu = {part: sum(process.cpu_s for process in processes[part]) for part in PARTS}
        cores = dict.fromkeys(PARTS, 1) | {WORKERS: len(self._idle) * self._cluster.streams}
        utilisation = {part: cpu[part] / (wall * cores[part] or 1.0) for part in PARTS}
        return Simulated(
            wall_s=wall,
            settled_s=self._clock.now + self._costs.waiting_run,
            tasks=self._tasks,
            cpu_s=cpu,
            utilisation=utilisation,
            limit=self._limit(utilisation, wall),
        )

    def _single(self) -> dict[str, Process]:
        return {
            DRIVER: self._driver,
            SCHEDULER: self._scheduler,
            SERVER: self._server,
            REGISTRY: self._registry,
        }

    def _limit(self, utilisation: dict[str, float], wall: float) -> str:
        on_machines: dict[int, list[Process]] = {}
        for process in (*self._single().values(), *self._workers):
            on_machines.setdefault(process.machine, []).append(process)
        # A machine with one process is as busy as this part.
        shares = {
            f"cores of machine {number}": sum(process.cpu_s for process in there)
            / (wall * self._cluster.cores[number] or 1.0)
            for number, there in on_machines.items()
            if len(there) > 1
        }
        # The parts come first, and are named if they alone fill their machine.
        every = utilisation | shares
        return max(every, key=lambda name: round(every[name], 9))

    def _go_on(self) -> None:
        """Take the next step of the driver: compute, or wait until something ends."""
        seconds = next(self._steps, None)
        if seconds is None:
            self._is_waiting = True
        else:
            self._driver.do(seconds, self._go_on)

    def _wake(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._go_on()

    def _drive(self) -> Iterator[float | None]:
        """Yield the CPU seconds of each step of the driver, and None to wait."""
        costs, work = self._costs, self._work
        yield costs.driver_run
        self._registry.do(costs.registry_load, nothing)  # the model of the driver
        self._scheduler.do(costs.scheduler_run, self._load_models)
        while self._loaded < len(self._workers):
            yield None
        for _ in range(work.files):
            yield costs.driver_file + work.rows * costs.driver_survey_row
        for rows in work.shards():
            while self._in_flight >= 2 * len(self._workers) * self._cluster.threads:
                yield from self._collect()
            yield rows * costs.driver_row
            self._open.shards += 1
            self._open.rows += rows
            if self._open.rows >= work.shard_rows or self._open.shards >= MOST_SHARDS:
                yield from self._submit()
        while self._in_flight or self._open.shards:
            yield from self._collect()

    def _load_models(self) -> None:
        for worker in self._workers:
            self._registry.do(
                self._costs.registry_load,
                partial(worker.do, self._costs.worker_load, self._end_load),
            )

    def _end_load(self) -> None:
        self._loaded += 1
        self._wake()

    def _submit(self) -> Iterator[float]:
        group, self._open = self._open, _Group()
        self._in_flight += 1
        self._tasks += 1
        yield self._costs.driver_task
        self._scheduler.do(self._costs.scheduler_task, partial(self._assign, group))

    def _collect(self) -> Iterator[float | None]:
        """Wait until a task ends, and publish its shards."""
        if self._open.shards:
            yield from self._submit()
        while not self._ended:
            yield None
        yield self._ended.popleft().shards * self._costs.driver_shard
        self._in_flight -= 1

    def _assign(self, group: _Group) -> None:
        self._ready.append(group)
        self._score_next()

    def _score_next(self) -> None:
        while self._ready and self._idle:
            worker, group = self._idle.popleft(), self._ready.popleft()
            seconds = self._costs.worker_task + group.rows * self._costs.worker_row
            worker.do(seconds, partial(self._end, worker, group))

    def _end(self, worker: Process, group: _Group) -> None:
        self._idle.append(worker)
        self._ended.append(group)
        self._server.do(self._costs.server_task, nothing)
        self._score_next()
        self._wake()
