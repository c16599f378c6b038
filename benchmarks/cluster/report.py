"""Tables of the results as Markdown, and files that hold all of them."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.cluster.measured import (
    PARTS_IN_WORDS,
    Measured,
    Results,
    orchestration_of_a_shard,
)
from benchmarks.cluster.parts import PARTS, WORKERS
from benchmarks.cluster.plan import SHARDS
from benchmarks.tables import shown, table


def write_report(results: Results, folder: Path, *, quick: bool = False) -> None:
    """Write `results.json`, `results.md`, and `costs.json` for plans.

    Args:
        results: The results.
        folder: The folder.
        quick: Whether the figures mean nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "results.json": results.model_dump_json(indent=2),
        "costs.json": results.fitted.model_dump_json(indent=2),
        "results.md": "\n".join(_lines(results, quick)),
    }
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8")


def _lines(results: Results, quick: bool) -> Iterator[str]:
    yield "# A scoring run on a cluster: measured, and simulated\n"
    yield "Written by `make cluster-bench`; all of it is made of `results.json` beside it.\n"
    if quick:
        yield "**A quick run: it shows that the benchmark works; its figures mean nothing.**\n"
    yield from table(("machine", ""), [*results.machine.described(), ("model", results.model)])
    yield from _predictions(results)
    yield from _costs(results)
    yield from _orchestration(results)
    yield from _small_files(results)
    yield from _caches(results)
    yield from _sizes(results)


def _predictions(results: Results) -> Iterator[str]:
    yield "\n## Measured and simulated\n"
    yield (
        "All processes share the cores of this machine. The costs are fitted from the runs with "
        "one worker; the others are predicted. Workers have one thread, and use "
        f"{results.streams} of the cores for a task.\n"
    )
    header = ("workers, rows of a shard", "tasks", "seconds", "simulated", "error")
    rows = (
        (
            _name(one.measured),
            str(one.measured.tasks),
            shown(one.measured.wall_s),
            shown(one.wall_s),
            shown(one.wall_error, "%"),
            shown(sum(one.measured.cpu_s.values())),
            shown(one.cpu_s),
            shown(one.cpu_error, "%"),
            one.limit,
        )
        for one in results.predicted
    )
    yield from table((*header, "CPU seconds", "simulated", "error", "limit"), rows)
    yield "\nMeasured CPU seconds of each part:\n"
    parts = (
        (_name(one.measured), *(shown(one.measured.cpu_s[part]) for part in PARTS))
        for one in results.predicted
    )
    yield from table(("workers, rows of a shard", *map(PARTS_IN_WORDS.__getitem__, PARTS)), parts)


def _costs(results: Results) -> Iterator[str]:
    yield "\n## Costs\n"
    yield "CPU milliseconds; `waiting_run` is of the clock.\n"
    costs = asdict(results.fitted.costs)
    yield from table(
        ("cost", "ms"), ((f"`{name}`", f"{1_000 * cost:,.4g}") for name, cost in costs.items())
    )


def _orchestration(results: Results) -> Iterator[str]:
    yield "\n## Share of orchestration\n"
    yield (
        "Of all CPU time: driver, Dask's scheduler, Prefect's server, and the fixed cost of the "
        "tasks of workers.\n"
    )
    costs = results.fitted.costs
    measured = (
        (_name(one.measured), shown(one.measured.orchestration(costs), "%"))
        for one in results.predicted
    )
    yield from table(("whole runs: workers, rows of a shard", "orchestration"), measured)
    yield "\nOf one more shard, by the costs, without what a run costs once:\n"
    shards = (
        (
            f"{rows:,}",
            *(
                shown(orchestration_of_a_shard(costs, rows, with_reading=reading), "%")
                for reading in (True, False)
            ),
        )
        for rows in sorted({*SHARDS, *(one.measured.shard_rows for one in results.predicted)})
    )
    yield from table(("rows of a shard", "with reading and staging", "without"), shards)


def _small_files(results: Results) -> Iterator[str]:
    small = results.small_files
    yield "\n## Files of one row\n"
    header = ("files", "tasks of workers", "task runs in all", "seconds", "CPU seconds")
    cpu_s = shown(sum(small.cpu_s.values()))
    counts = (f"{small.files:,}", str(small.tasks), str(small.task_runs))
    yield from table(header, [(*counts, shown(small.wall_s), cpu_s)])


def _caches(results: Results) -> Iterator[str]:
    yield "\n## A cache on each machine\n"
    yield (
        "The same rows are scored twice by the same workers, of which each has a cache of its own. "
        "A row of the second run is answered from a cache if the worker that gets its shard had it "
        "before.\n"
    )
    rows = (
        (
            f"{run.workers}, {('first', 'second')[number % 2]}",
            f"{run.cached:,} of {run.all_rows:,}",
            shown(run.cached / run.all_rows, "%"),
            shown(run.cpu_s[WORKERS]),
        )
        for number, run in enumerate(results.twice)
    )
    yield from table(("workers, run", "rows by the cache", "share", "CPU seconds of workers"), rows)


def _sizes(results: Results) -> Iterator[str]:
    yield "\n## Bytes\n"
    sizes = results.fitted.sizes
    yield from table(
        ("what", "bytes"),
        [
            ("Prefect's database, a task run", f"{sizes.database_task_run:,.0f}"),
            ("output, a row", f"{sizes.output_row:,.1f}"),
            ("prediction cache, a row", f"{sizes.cache_row:,.1f}"),
            ("model, a load", f"{sizes.model:,.0f}"),
        ],
    )


def _name(run: Measured) -> str:
    return f"{run.workers}, {run.shard_rows:,}"
