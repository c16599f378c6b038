"""The sections of the report on served models under load."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from benchmarks.plan import KINDS
from benchmarks.serving.measured import ClosedLoop, Comparison, Load, OpenLoop
from benchmarks.serving.names import BEFORE, SERVERS
from benchmarks.serving.targets import median_ratio
from benchmarks.tables import NOTHING, shown, table
from benchmarks.timing import median_of

_LATENCIES = ("p50, ms", "p99, ms", "p99.9, ms", "max, ms")


def served_lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield a section for each served model, and what was not measured."""
    for comparison in comparisons:
        yield from _comparison(comparison)
    if comparisons and (missing := _missing(comparisons)):
        yield f"\nNot measured under load: {'; '.join(missing)}."


def _comparison(comparison: Comparison) -> Iterator[str]:
    c = comparison
    yield f"\n## Servers under load: {c.kind}, at most {c.max_tokens} tokens, {c.engine}\n"
    yield (
        f"Each server has the same weights, and shares {c.cores} cores with the load generator, "
        "while the other servers are stopped. In a closed loop each client waits for its answer "
        "before it asks again; figures are medians of "
        f"{len(c.alone)} rounds, ratios are taken within them. The engine alone labels "
        f"{shown(median(c.alone), 'texts/s')}, all in one call. {_labels(c)}"
    )
    for texts, what in (
        ("distinct", "each text sent once"),
        ("repeated", f"{c.repeated} texts, sent again and again"),
    ):
        loops = [loop for loop in c.closed if loop.texts == texts]
        yield f"\n### Closed loop, {what}\n"
        yield from _closed_table(c, loops)
    yield from _open_table(c)
    for name, reason in c.skipped.items():
        yield f"\n{name} did not run: {reason}."
    if others := [name for name in SERVERS if name not in (*c.servers, *c.skipped)]:
        yield f"\nNot measured here: {'; '.join(others)}."


def _labels(comparison: Comparison) -> str:
    differing = {name: count for name, count in comparison.differing.items() if count}
    if not differing:
        return f"All servers gave its labels to {comparison.asked} other texts."
    counts = "; ".join(f"{name}: {count}" for name, count in differing.items())
    return f"Labels of {comparison.asked} other texts that differ from its own: {counts}."


def _closed_table(comparison: Comparison, loops: Sequence[ClosedLoop]) -> Iterator[str]:
    header = (
        "server",
        "clients",
        "requests/s",
        "× before",
        "of the engine alone",
        *_LATENCIES,
        "errors",
        "generator, cores",
    )
    rows = [_closed_row(comparison, loop, name) for loop in loops for name in comparison.servers]
    yield from table(header, rows)


def _closed_row(comparison: Comparison, loop: ClosedLoop, name: str) -> tuple[str, ...]:
    loads = [turn[name] for turn in loop.rounds]
    alone = zip(loads, comparison.alone, strict=True)
    share = median(load.per_second / speed for load, speed in alone)
    return (
        name,
        str(loop.clients),
        shown(median(load.per_second for load in loads)),
        shown(median_ratio(loop.rounds, name, BEFORE, lambda load: load.per_second)),
        NOTHING if loop.texts == "repeated" else shown(share, "%"),
        *(shown(median_of(map(latency, loads))) for latency in _PERCENTILES),
        f"{sum(load.errors for load in loads):,}",
        shown(median(load.cores for load in loads)),
    )


_PERCENTILES: tuple[Callable[[Load], float | None], ...] = (
    lambda load: load.p50,
    lambda load: load.p99,
    lambda load: load.p999,
    lambda load: load.slowest,
)


def _open_table(comparison: Comparison) -> Iterator[str]:
    yield "\n### Open loop, each text sent once\n"
    yield (
        "Requests arrive by a Poisson process at a share of the capacity of that server, which is "
        "what it answered under the most clients above. Latencies count from the scheduled "
        "arrival, so that they have what a request waits because the server, or the generator "
        "beside it, is behind. How late the generator sends is told as well.\n"
    )
    header = (
        "server",
        "of its capacity",
        "arrivals/s",
        "answers/s",
        *_LATENCIES,
        "errors",
        "sent late, p99, ms",
        "connections",
        "generator, cores",
    )
    yield from table(header, map(_open_row, comparison.open))
    waited = sum(loop.load.waited for loop in comparison.open)
    if waited:
        yield f"\n{waited:,} requests waited for a connection, since all were busy."
    done = {loop.server for loop in comparison.open}
    if others := [name for name in comparison.servers if name not in done]:
        yield f"\nNot measured under an open loop: {'; '.join(others)}."


def _open_row(loop: OpenLoop) -> tuple[str, ...]:
    load = loop.load
    return (
        loop.server,
        f"{loop.share:.0%}".replace("%", " %"),
        shown(load.rate),
        shown(load.per_second),
        *(shown(latency(load)) for latency in _PERCENTILES),
        f"{load.errors:,}",
        shown(load.lateness),
        str(load.connections),
        shown(load.cores),
    )


def _missing(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the kinds of text that were not measured in f32, or not in a faster precision."""
    done = {(found.kind, found.engine.endswith("f32")) for found in comparisons}
    names = {True: "f32", False: "a faster precision"}
    return [
        f"{kind} in {name}"
        for kind in KINDS
        for is_f32, name in names.items()
        if (kind, is_f32) not in done
    ]
