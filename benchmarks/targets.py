"""Performance targets of the project, compared with the results of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks.engines import INT8
from benchmarks.measured import CascadeRace, FlowRun, GrowthRound, Race, Results, ServingRound
from benchmarks.peers import ORDERED_F32
from benchmarks.plan import CASCADE_MEMBERS, WHOLE
from benchmarks.timing import median_of, median_speedup, percentile

# At least, by kind of text.
_OVER_BEST_PEER = {"imdb": 2.8, "snippets": 4.0}


@dataclass(frozen=True, slots=True)
class Target:
    """A metric with its required and its measured value.

    Attributes:
        name: The metric.
        sign: `≥` or `≤`.
        bound: The required value.
        unit: `%` for a share, `×` for a ratio, or a unit.
        seen: The measured value, or None.
    """

    name: str
    sign: str
    bound: float
    unit: str
    seen: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if it was not measured."""
        if self.seen is None:
            return None
        return self.seen >= self.bound if self.sign == "≥" else self.seen <= self.bound


def targets(results: Results) -> list[Target]:
    """Return all targets, in the order of the issue that set them."""
    return [
        *(target for race in results.races for target in _of_race(race, results.peak)),
        *_of_flow(results),
        *_of_growth(results),
        *_of_serving(results),
        *(target for race in results.cascades for target in _of_cascade(race)),
    ]


def share_of_peak(race: Race, name: str, peak: float | None, *, executed: bool) -> float | None:
    """Return a peer's FLOP/s as a share of the matrix peak.

    Args:
        race: The peer's.
        name: The peer.
        peak: The bf16 peak in GFLOP/s; None if it was not measured.
        executed: Whether to count the last layer for the first token alone, instead of all
            tokens through all layers.
    """
    speeds = race.rows_per_second(name)
    if not speeds or peak is None:
        return None
    flops = race.executed_flops if executed else race.model_flops
    return median(speeds) * flops / race.rows / 1e9 / peak


def _of_race(race: Race, peak: float | None) -> Iterator[Target]:
    kind, main = race.kind, race.main
    transformers = race.names("transformers")
    if kind == "imdb":
        for executed, what in ((False, "all tokens through all layers"), (True, "as executed")):
            share = share_of_peak(race, main, peak, executed=executed)
            yield Target(f"{kind}: {main}, of the bf16 peak, {what}", "≥", 0.75, "%", share)
    yield _speedup(race, main, [ORDERED_F32], 2.3, "torch f32 ordered by length")
    yield _speedup(race, main, transformers, _OVER_BEST_PEER[kind], "the best transformers peer")
    yield _speedup(race, INT8, [main], 1.25, main)
    yield _speedup(race, race.main_pyfunc, [main], 0.92, main)


def _speedup(race: Race, name: str, over: list[str], bound: float, what: str) -> Target:
    seen = median_speedup(race.rounds, name, over)
    return Target(f"{race.kind}: {name}, over {what}", "≥", bound, "×", seen)


def _of_flow(results: Results) -> Iterator[Target]:
    ratios = [turn.engine / turn.cold.shards for turn in results.flow if turn.cold.shards]
    yield Target("flow, cold: shards over the engine alone", "≥", 0.85, "×", median_of(ratios))
    warm = [_speed(turn.warm) for turn in results.growth]
    yield Target("flow, warm: rows/s of all rows", "≥", 10_000, "rows/s", median_of(warm))
    resumed = [turn.resumed.beyond_start for turn in results.growth]
    name = "flow, resumed: all rows done, beyond imports and Prefect's start"
    yield Target(name, "≤", 5.0, "s", median_of(resumed))


def _of_growth(results: Results) -> Iterator[Target]:
    time = growth(results.growth, lambda run: run.shards and run.shards / run.rows)
    yield Target("growth: time a row, the largest over the smallest", "≤", 1.2, "×", time)
    memory = growth(results.growth, lambda run: run.peak_mib)
    yield Target("growth: peak memory, the largest over the smallest", "≤", 1.2, "×", memory)
    cores = median_speedup(results.cores.rounds, "2", ["1"]) if results.cores else None
    yield Target("two cores over one", "≥", 1.7, "×", cores)


def growth(
    rounds: tuple[GrowthRound, ...], metric: Callable[[FlowRun], float | None]
) -> float | None:
    """Return the ratio of a metric's largest to its smallest median over all sizes."""
    if not rounds:
        return None
    sizes = zip(*(turn.cold for turn in rounds), strict=True)
    medians = [found for runs in sizes if (found := median_of(map(metric, runs)))]
    return max(medians) / min(medians) if len(medians) > 1 else None


def _of_serving(results: Results) -> Iterator[Target]:
    cached = [percentile(t.cached, 99) - percentile(t.nothing, 99) for t in results.serving]
    name = "served, cached: p99 above that of a model that does nothing"
    yield Target(name, "≤", 4.0, "ms", median_of(cached))
    name = "served, computed: median above nothing's, by the engine's own time"
    yield Target(name, "≤", 1.5, "×", median_of(map(_overhead, results.serving)))


def _of_cascade(race: CascadeRace) -> Iterator[Target]:
    _, transformer = CASCADE_MEMBERS
    speedup = median_speedup(race.rounds, WHOLE, [transformer])
    yield Target(f"{race.kind}: cascade, over the transformer alone", "≥", 2.0, "×", speedup)
    gain = None
    if race.check is not None:
        best = max(member.accuracy or 0.0 for member in race.check.members.values())
        gain = 100 * (race.check.accuracy - best)
    name = f"{race.kind}: cascade, accuracy above that of its best member"
    yield Target(name, "≥", -0.5, "points", gain)


def _overhead(turn: ServingRound) -> float:
    return (median(turn.computed) - median(turn.nothing)) / median(turn.engine)


def _speed(run: FlowRun) -> float | None:
    return run.rows / run.shards if run.shards else None
