"""Seconds, percentiles, and ratios of what ran in the same round."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")

Round = Mapping[str, float]  # seconds by name


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what `work` returns, and the seconds that it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated between the nearest two values."""
    return float(np.percentile(values, percent))


def median_speedup(rounds: Iterable[Round], name: str, over: Iterable[str]) -> float | None:
    """Return how many times as fast as the best of others something was, as the rounds' median.

    The ratio is taken within each round: between two rounds a machine may change its speed.

    Args:
        rounds: Seconds by name; the work of all names is the same.
        name: What is judged.
        over: What it is compared with; in each round the fastest of them counts.

    Returns:
        The median, or None if no round has both.
    """
    others = tuple(over)
    ratios = [
        min(seconds[other] for other in others if other in seconds) / seconds[name]
        for seconds in rounds
        if name in seconds and any(other in seconds for other in others)
    ]
    return median(ratios) if ratios else None


def median_of(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that there are, or None if there are none."""
    found = [value for value in values if value is not None]
    return median(found) if found else None
