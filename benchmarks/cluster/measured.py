"""Schema of the results: measured runs, fitted costs, and predicted runs."""

from pydantic import Field

from benchmarks.cluster.parts import DRIVER, REGISTRY, SCHEDULER, SERVER, WORKERS, Costs, Work
from benchmarks.machine import Machine
from benchmarks.record import Record


class Measured(Record):
    """A run.

    Attributes:
        workers: Workers, of one thread each.
        files: Input files.
        rows: Rows of each file.
        shard_rows: Rows of a shard at most.
        tasks: Tasks of workers.
        task_runs: Task runs in Prefect, those of workers among them.
        cached: Rows that the prediction cache answered.
        wall_s: Seconds of the command.
        cpu_s: CPU seconds of each part, until the servers were idle again.
    """

    workers: int
    files: int
    rows: int
    shard_rows: int
    tasks: int
    task_runs: int
    cached: int
    wall_s: float
    cpu_s: dict[str, float]

    @property
    def work(self) -> Work:
        """What was scored, for the simulation."""
        return Work(files=self.files, rows=self.rows, shard_rows=self.shard_rows)

    @property
    def all_rows(self) -> int:
        """The rows of all files."""
        return self.files * self.rows

    def orchestration(self, costs: Costs) -> float:
        """Return the share of driver, scheduler, Prefect's server and fixed cost of tasks.

        Args:
            costs: Of which the fixed cost of a worker's task is taken.
        """
        parts = self.cpu_s[DRIVER] + self.cpu_s[SCHEDULER] + self.cpu_s[SERVER]
        return (parts + self.tasks * costs.worker_task) / sum(self.cpu_s.values())


def orchestration_of_a_shard(costs: Costs, rows: int, *, with_reading: bool) -> float:
    """Return the share of orchestration in the CPU time of one more shard of a run.

    Args:
        costs: CPU seconds.
        rows: Rows of the shard, which is a task.
        with_reading: Whether it is orchestration that the driver reads and stages the rows.
    """
    driver = costs.driver_task + costs.driver_shard
    reading = rows * (costs.driver_survey_row + costs.driver_row)
    fixed = driver + costs.scheduler_task + costs.server_task + costs.worker_task
    return (fixed + with_reading * reading) / (fixed + reading + rows * costs.worker_row)


class Predicted(Record):
    """A measured run, and what the simulation says of it.

    Attributes:
        measured: The run.
        wall_s: Seconds of the command.
        cpu_s: CPU seconds of all parts.
        limit: The part or machine that was the limit.
    """

    measured: Measured
    wall_s: float
    cpu_s: float
    limit: str

    @property
    def wall_error(self) -> float:
        """How much longer the simulated run is, as a share of the measured seconds."""
        return self.wall_s / self.measured.wall_s - 1

    @property
    def cpu_error(self) -> float:
        """The same of the CPU seconds."""
        return self.cpu_s / sum(self.measured.cpu_s.values()) - 1


class Sizes(Record):
    """Bytes that a run leaves or moves.

    Attributes:
        database_task_run: Prefect's database a task run.
        output_row: The output folder a row.
        cache_row: The prediction cache a row.
        model: The files of a version, which each process that loads it gets.
    """

    database_task_run: float = Field(ge=0)
    output_row: float = Field(ge=0)
    cache_row: float = Field(ge=0)
    model: float = Field(ge=0)


class PlanCosts(Record):
    """What a plan is made of.

    Attributes:
        costs: CPU seconds.
        sizes: Bytes.
    """

    costs: Costs
    sizes: Sizes


class Results(Record):
    """All that was measured.

    Attributes:
        machine: The machine.
        model: What the rows were scored with.
        fitted: Costs, and sizes.
        empty: A run of one row, with one worker.
        streams: Cores that a worker used for a task.
        predicted: Runs beside what the simulation says of them. Costs are fitted from those with
            one worker, from `empty` and from `small_files`.
        small_files: A run of files of one row.
        twice: Runs on the same rows by 1 and 2 workers, of which each has a cache: the first fills
            the caches, the second asks them.
    """

    machine: Machine
    model: str
    fitted: PlanCosts
    empty: Measured
    streams: int
    predicted: tuple[Predicted, ...]
    small_files: Measured
    twice: tuple[Measured, ...]


PARTS_IN_WORDS = {
    DRIVER: "driver",
    SCHEDULER: "Dask's scheduler",
    SERVER: "Prefect's server",
    REGISTRY: "MLflow's server",
    WORKERS: "workers",
}
