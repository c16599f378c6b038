"""Plans of nights: what each part does at 10^6, 10^8 and 10^10 rows, by the simulation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from benchmarks.cluster.measured import PARTS_IN_WORDS, PlanCosts
from benchmarks.cluster.parts import (
    DRIVER,
    MOST_SHARDS,
    PARTS,
    SERVER,
    Costs,
    Simulated,
    Work,
    own_machines,
)
from benchmarks.cluster.simulation import simulate
from benchmarks.tables import shown, table

NIGHTS = (10**6, 10**8, 10**10)
SHARDS = (2_000, 20_000, 200_000)

NIGHT_S = 8 * 3_600.0
THREADS = 8  # of a worker, each with a core
FILE_ROWS = 1_000_000
BUSY = 0.8  # of a driver or server, so that it keeps up when it is disturbed


@dataclass(frozen=True)
class Night:
    """A plan of a night.

    Attributes:
        rows: All rows.
        shard_rows: Rows of a shard.
        drivers: Runs at the same time, each with a range of the files, an output and workers.
        workers: Workers of each driver, on a machine each.
        run: What the simulation says of one of the runs.
        servers: Prefect's servers that all runs need.
    """

    rows: int
    shard_rows: int
    drivers: int
    workers: int
    run: Simulated
    servers: int

    @property
    def tasks(self) -> int:
        """Tasks of all runs."""
        return self.drivers * self.run.tasks

    @property
    def machines(self) -> int:
        """Machines of workers of all runs."""
        return self.drivers * self.workers


def plan(costs: Costs, rows: int, shard_rows: int) -> Night:
    """Return the fewest drivers, and the fewest workers of each, that end within the night.

    Args:
        costs: CPU seconds of each part.
        rows: Rows of the night.
        shard_rows: Rows of a shard at most.

    Raises:
        ValueError: If what a run costs once, or with the survey, takes all of the night.
    """
    drivers = ceil(rows / _rows_of_a_driver(costs, shard_rows))
    work = _work(rows, drivers, shard_rows)
    tasks = ceil(work.rows / shard_rows) * work.files
    scoring = tasks * costs.worker_task + work.files * work.rows * costs.worker_row
    workers = max(1, ceil(scoring / (_time_to_score(costs, work) * THREADS)))
    run = simulate(costs, own_machines(workers, THREADS), work)
    while run.wall_s > NIGHT_S:
        # Some cores are idle at the end, and while the driver is behind.
        workers += max(1, workers // 50)
        run = simulate(costs, own_machines(workers, THREADS), work)
    servers = ceil(drivers * run.cpu_s[SERVER] / (BUSY * NIGHT_S))
    return Night(rows, shard_rows, drivers, workers, run, servers)


def _rows_of_a_driver(costs: Costs, shard_rows: int) -> float:
    """Return the rows of a night with which a driver and its scheduler still keep up."""
    per_file = costs.driver_file / FILE_ROWS
    per_shard = (costs.driver_task + costs.driver_shard) / shard_rows
    per_row = per_file + per_shard + costs.driver_survey_row + costs.driver_row
    busiest = max(per_row, costs.scheduler_task / shard_rows)
    left = BUSY * NIGHT_S - costs.driver_run - costs.waiting_run
    if left <= 0:
        raise ValueError(f"driver_run: {costs.driver_run} s; expected less than {BUSY * NIGHT_S} s")
    return left / (busiest or 1e-12)


def _time_to_score(costs: Costs, work: Work) -> float:
    """Return the seconds of the night that are left once the driver has surveyed all files."""
    survey = work.files * (costs.driver_file + work.rows * costs.driver_survey_row)
    before = costs.driver_run + costs.waiting_run + costs.registry_load + costs.worker_load
    left = NIGHT_S - before - survey
    if left <= 0:
        raise ValueError(
            f"costs: loads and survey take {before + survey:,.0f} s; expected less than {NIGHT_S} s"
        )
    return left


def _work(rows: int, drivers: int, shard_rows: int) -> Work:
    of_a_driver = ceil(rows / drivers)
    files = ceil(of_a_driver / FILE_ROWS)
    return Work(files=files, rows=min(of_a_driver, FILE_ROWS), shard_rows=shard_rows)


def plan_tables(found: PlanCosts) -> Iterator[str]:
    """Yield the tables of a plan as Markdown."""
    yield (
        f"A night has {NIGHT_S / 3_600:g} hours. A worker is a machine with {THREADS} threads and "
        f"cores; files have {FILE_ROWS:,} rows at most; driver and server are busy for "
        f"{BUSY:.0%} of the night at most.\n"
    )
    nights = [plan(found.costs, rows, shard_rows) for rows in NIGHTS for shard_rows in SHARDS]
    yield from _nights(nights, found)
    yield "\n### One driver with as many workers as it can feed\n"
    yield from table(
        ("rows of a shard", "rows a second", "rows a night", "tasks a second", "limit"),
        (_ceiling(found.costs, rows) for rows in SHARDS),
    )
    yield f"\nUp to {MOST_SHARDS} small files share a task:\n"
    yield from table(
        ("files of one row", "tasks", "driver", "files a second"),
        (_small_files(found.costs, files) for files in (1_000, 100_000)),
    )


def _nights(nights: Sequence[Night], found: PlanCosts) -> Iterator[str]:
    name = "rows, rows of a shard"
    yield "### Machines\n"
    machines = (name, "drivers", "workers", "Prefect's servers", "hours", "limit")
    yield from table(machines, map(_machines, nights))
    yield "\n### Utilisation of each part of one run\n"
    yield from table((name, *(PARTS_IN_WORDS[part] for part in PARTS)), map(_busy, nights))
    yield "\n### What all runs do and leave\n"
    counts = (name, "tasks", "tasks a second", "loads of the model")
    sizes = ("models moved", "Prefect's database", "output", "caches")
    yield from table((*counts, *sizes), (_amounts(night, found) for night in nights))


def _busy(night: Night) -> tuple[str, ...]:
    return (_name(night), *(shown(night.run.utilisation[part], "%") for part in PARTS))


def _name(night: Night) -> str:
    return f"{night.rows:,}, {night.shard_rows:,}"


def _machines(night: Night) -> tuple[str, ...]:
    counts = (night.drivers, night.machines, night.servers)
    return (
        _name(night),
        *(f"{number:,}" for number in counts),
        shown(night.run.wall_s / 3_600),
        night.run.limit,
    )


def _amounts(night: Night, found: PlanCosts) -> tuple[str, ...]:
    loads = night.machines + night.drivers
    sizes = (
        loads * found.sizes.model,
        night.tasks * found.sizes.database_task_run,
        night.rows * found.sizes.output_row,
        night.rows * found.sizes.cache_row,
    )
    rate = shown(night.tasks / night.run.wall_s)
    return (_name(night), f"{night.tasks:,}", rate, f"{loads:,}", *map(_bytes, sizes))


def _ceiling(costs: Costs, shard_rows: int) -> tuple[str, ...]:
    """Return what a driver does whose workers cost nothing, once they are ready."""
    free = replace(costs, worker_row=0.0, worker_task=0.0, worker_load=0.0, driver_run=0.0)
    free = replace(free, waiting_run=0.0, registry_load=0.0, server_run=0.0)
    work = Work(files=10, rows=FILE_ROWS, shard_rows=shard_rows)
    run = simulate(free, own_machines(1, THREADS), work)
    # Who is behind when the driver ends is the limit of a longer run.
    a_second = work.files * work.rows / max(run.wall_s, run.settled_s, 1e-9)
    rate = run.tasks * a_second / (work.files * work.rows)
    night = shown(a_second * NIGHT_S)
    return (f"{shard_rows:,}", shown(a_second), night, shown(rate), run.limit)


def _small_files(costs: Costs, files: int) -> tuple[str, ...]:
    run = simulate(costs, own_machines(1, THREADS), Work(files, 1, SHARDS[0]))
    cpu = shown(run.cpu_s[DRIVER], "CPU s")
    return (f"{files:,}", f"{run.tasks:,}", cpu, shown(files / run.wall_s if run.wall_s else None))


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1_000:
            return shown(size, unit)
        size /= 1_000
    return shown(size, "TB")
