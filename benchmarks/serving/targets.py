"""Performance targets of serving, compared with what servers did under load."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from benchmarks.serving.measured import Comparison, Load
from benchmarks.serving.names import BEFORE, CLASSIFY
from benchmarks.targets import Target

_CLIENTS = 8
_SHARE = 0.75  # of the capacity


def served_targets(comparisons: Sequence[Comparison]) -> list[Target]:
    """Return the targets of each comparison with snippets."""
    return [
        target
        for comparison in comparisons
        if comparison.kind == "snippets"
        for target in _of_comparison(comparison)
    ]


def median_ratio(
    rounds: Sequence[dict[str, Load]], name: str, over: str, value: Callable[[Load], float | None]
) -> float | None:
    """Return the ratio of a figure of two servers, as the median of the rounds.

    Args:
        rounds: What the servers did.
        name: The server whose figure is divided.
        over: The server whose figure it is divided by.
        value: Returns the figure.

    Returns:
        The median, or None if no round has both.
    """
    pairs = [
        (value(turn[name]), value(turn[over])) for turn in rounds if name in turn and over in turn
    ]
    ratios = [figure / other for figure, other in pairs if figure is not None and other]
    return median(ratios) if ratios else None


def _of_comparison(found: Comparison) -> Iterator[Target]:
    served = f"served, {found.kind}, {found.engine}"
    distinct = found.loop("distinct", _CLIENTS)
    bound = 2.5 if found.engine.endswith("f32") else 4.0
    over_before = median_ratio(distinct, CLASSIFY, BEFORE, _speed)
    name = f"{served}: requests/s of {_CLIENTS} clients, over MLflow's server before"
    yield Target(name, "≥", bound, "×", over_before)
    shares = [
        _speed(turn[CLASSIFY]) / alone
        for turn, alone in zip(distinct, found.alone, strict=False)
        if CLASSIFY in turn
    ]
    name = f"{served}: requests/s of {_CLIENTS} clients, of the engine alone"
    yield Target(name, "≥", 0.7, "%", median(shares) if shares else None)
    load = _at_share(found)
    name = f"{served}: p99 at {_SHARE:.0%} of the capacity".replace("%", " %")
    yield Target(name, "≤", 100.0, "ms", load.p99 if load else None)
    name = f"{served}: errors at {_SHARE:.0%} of the capacity".replace("%", " %")
    yield Target(name, "≤", 0.0, "requests", float(load.errors) if load else None)
    one = median_ratio(found.loop("distinct", 1), BEFORE, CLASSIFY, lambda load: load.p50)
    name = f"{served}: median of one client, MLflow's server before over ours"
    yield Target(name, "≥", 1.0, "×", one)
    repeated = median_ratio(found.loop("repeated", _CLIENTS), CLASSIFY, BEFORE, _speed)
    name = f"{served}: repeated texts, over MLflow's server before"
    yield Target(name, "≥", 8.0, "×", repeated)


def _speed(load: Load) -> float:
    return load.per_second


def _at_share(found: Comparison) -> Load | None:
    loads = [loop.load for loop in found.open if (loop.server, loop.share) == (CLASSIFY, _SHARE)]
    return loads[0] if loads else None
