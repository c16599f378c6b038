"""Markdown report of the benchmark: `results.md`, made of `results.json`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.measured import FlowRun, Gate, Race, Results, ServingRound
from benchmarks.peers import ORDERED_F32
from benchmarks.report_of_compositions import cascade_lines, route_lines
from benchmarks.serving.report import served_lines
from benchmarks.serving.targets import served_targets
from benchmarks.tables import NOTHING, shown, table
from benchmarks.targets import Target, share_of_peak, targets
from benchmarks.timing import median_of, median_speedup, percentile

PERCENTILES = (50, 90, 99, 100)


def write_report(results: Results, folder: Path) -> None:
    """Write `results.md` into `folder`."""
    lines = "\n".join(_lines(results)) + "\n"
    (folder / "results.md").write_text(lines, encoding="utf-8")


def _lines(results: Results) -> Iterator[str]:
    yield f"# Benchmark on {results.machine.gpu or results.machine.cpu}\n"
    yield "Written by `make bench`; all of it is made of `results.json` beside it.\n"
    if results.quick:
        yield "**A quick run: it shows that the benchmark works; its figures mean nothing.**\n"
    yield from _machine(results)
    yield "\n## Engines when the pipeline was built\n"
    header = ("engine", "rows", "labels as torch f32", "accuracy", "left out because")
    yield from table(header, map(_gate, results.gates))
    yield "\n## Targets\n"
    yield "They were set for two cores of a CPU; ratios are medians of those of each round.\n"
    found = [*targets(results), *served_targets(results.served)]
    yield from table(("figure", "target", "seen", "met"), map(_target, found))
    for race in results.races:
        yield from _race(race, results.peak)
    yield from _flow(results)
    yield from _growth(results)
    yield from _serving(results)
    yield from served_lines(results.served)
    yield from _budgets(results)
    for cascade in results.cascades:
        yield from cascade_lines(cascade)
    yield from route_lines(results.routes)


def _machine(results: Results) -> Iterator[str]:
    machine, peaks = results.machine, results.peak_gflops
    yield from table(
        ("machine", ""),
        [
            *machine.described(),
            ("the run took", f"{results.seconds / 60:.1f} min"),
            ("bf16 matrix peak", _peak(peaks)),
        ],
    )


def _peak(samples: Sequence[float]) -> str:
    if not samples:
        return NOTHING
    spread = f"{shown(min(samples))} to {shown(max(samples))} GFLOP/s in {len(samples)} samples"
    return f"{shown(max(samples), 'GFLOP/s')} ({spread})"


def _gate(gate: Gate) -> tuple[str, ...]:
    name = f"{gate.engine} {gate.precision}"
    share, accuracy = shown(gate.agreement, "%"), shown(gate.accuracy, "%")
    return (name, str(gate.rows), share, accuracy, gate.reason or NOTHING)


def _target(target: Target) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: "not measured"}[target.met]
    bound = f"{target.bound:.0%}".replace("%", " %") if target.unit == "%" else ""
    bound = bound or f"{target.bound:,g}{'' if target.unit == '×' else ' '}{target.unit}"
    return (target.name, f"{target.sign} {bound}", shown(target.seen, target.unit), met)


def _race(race: Race, peak: float | None) -> Iterator[str]:
    yield f"\n## {race.kind}: {race.rows} texts, at most {race.max_tokens} tokens\n"
    yield (
        f"Medians of {len(race.rounds)} rounds; {race.tokens:,} tokens in all. A text has "
        f"{race.model_flops / race.rows / 1e9:.2f} GFLOP if every token goes through every layer, "
        f"{race.executed_flops / race.rows / 1e9:.2f} if the last layer is computed for the first "
        "token alone, as our OpenVINO engines do. Labels are compared with those of "
        f"{ORDERED_F32}.\n"
    )
    header = ("peer", "rows/s", "P90, ms a row", "× torch f32", f"× {race.main}")
    rows = [_racer(race, name, peak) for name in race.families]
    yield from table((*header, "labels differing", "of the peak", "as executed"), rows)
    for name, reason in race.skipped.items():
        yield f"\n{name} did not run: {reason}."


def _racer(race: Race, name: str, peak: float | None) -> tuple[str, ...]:
    speeds = race.rows_per_second(name)
    cut = "openvino" in name or ("openvino" in race.main and race.families[name] == "pyfunc")
    return (
        name,
        shown(median(speeds)),
        shown(percentile([1_000 / speed for speed in speeds], 90)),
        shown(median_speedup(race.rounds, name, [ORDERED_F32])),
        shown(median_speedup(race.rounds, name, [race.main])),
        str(race.labels_differing[name]),
        shown(share_of_peak(race, name, peak, executed=False), "%"),
        shown(share_of_peak(race, name, peak, executed=cut), "%"),
    )


def _flow(results: Results) -> Iterator[str]:
    if not results.flow:
        return
    yield f"\n## The whole flow over {results.flow[0].cold.rows:,} snippets\n"
    engine = median(turn.cold.rows / turn.engine for turn in results.flow)
    yield f"The engine alone does {shown(engine, 'rows/s')} of the same texts.\n"
    runs = {
        "cold": [turn.cold for turn in results.flow],
        "warm": [turn.warm for turn in results.flow],
        "resumed": [turn.resumed for turn in results.flow],
    }
    yield from _flow_table(runs)


_FLOW_METRICS: dict[str, Callable[[FlowRun], float | None]] = {
    "rows/s in the shard tasks": lambda run: run.rows / run.shards if run.shards else None,
    "shard tasks, s": lambda run: run.shards,
    "the flow around them, s": lambda run: run.flow - (run.shards or 0.0),
    "imports, s": lambda run: run.imports,
    "one model load, s": lambda run: run.model_load,
    "start of Prefect's server, s": lambda run: run.server_start,
    "end of the process, s": lambda run: run.exit,
    "peak memory, MiB": lambda run: run.peak_mib,
    "texts through the model": lambda run: run.model_calls,
    "rows from the cache or an equal row": lambda run: run.cache_hits,
    "rows published": lambda run: run.rows_done,
}


def _flow_table(runs: dict[str, list[FlowRun]]) -> Iterator[str]:
    yield from table(
        ("median", *runs),
        [
            (name, *(shown(median_of(map(metric, found))) for found in runs.values()))
            for name, metric in _FLOW_METRICS.items()
        ],
    )


def _growth(results: Results) -> Iterator[str]:
    if not results.growth:
        return
    yield "\n## Growth: snippets and IMDB reviews at the same mix, at most 128 tokens\n"
    cold = {
        f"{runs[0].rows:,} cold": list(runs)
        for runs in zip(*(turn.cold for turn in results.growth), strict=True)
    }
    most = list(cold)[-1].removesuffix(" cold")
    yield from _flow_table(
        cold
        | {f"{most} warm": [turn.warm for turn in results.growth]}
        | {f"{most} resumed": [turn.resumed for turn in results.growth]}
    )
    if results.cores:
        rows = results.cores.rows
        speeds = {
            cores: median(rows / turn[cores] for turn in results.cores.rounds)
            for cores in ("1", "2")
        }
        yield f"\nThe engine alone, {rows:,} snippets: {shown(speeds['1'], 'rows/s')} on one core, "
        yield f"{shown(speeds['2'], 'rows/s')} on two."


SERVED: dict[str, Callable[[ServingRound], tuple[float, ...]]] = {
    "a model that does nothing": lambda turn: turn.nothing,
    "cached texts": lambda turn: turn.cached,
    "computed texts": lambda turn: turn.computed,
    "the engine alone, in turns with them": lambda turn: turn.engine_in_turns,
    "the engine alone, text after text": lambda turn: turn.engine,
}


def latencies(results: Results, name: str) -> list[float]:
    """Return the `PERCENTILES` of a kind of request in ms, as medians over the rounds."""
    turns = [SERVED[name](turn) for turn in results.serving]
    return [median(percentile(turn, percent) for turn in turns) for percent in PERCENTILES]


def _serving(results: Results) -> Iterator[str]:
    if not results.serving:
        return
    requests = len(results.serving[0].nothing)
    yield f"\n## One client of the served model: {requests} requests of each kind a round, in ms\n"
    rows = [(name, *map(shown, latencies(results, name))) for name in SERVED]
    yield from table(("request", "p50", "p90", "p99", "max"), rows)


def _budgets(results: Results) -> Iterator[str]:
    for found in results.budgets:
        yield f"\n## Token budget of a batch: rows/s of {found.rows} texts, {found.kind}\n"
        budgets = sorted({b for speeds in found.rows_per_second.values() for b in speeds})
        rows = [
            (name, *(shown(speeds.get(budget)) for budget in budgets))
            for name, speeds in found.rows_per_second.items()
        ]
        yield from table(("engine", *(f"{budget:,}" for budget in budgets)), rows)
