"""Timing, percentiles, and speedups within rounds."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")

Round = Mapping[str, float]  # seconds by name


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of `work`, and its seconds."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated between the nearest two values."""
    return float(np.percentile(values, percent))


def median_speedup(rounds: Iterable[Round], name: str, over: Iterable[str]) -> float | None:
    """Return the speedup over the fastest of others, as the median of the rounds.

    The ratio is taken within each round, since the speed of a machine varies.

    Args:
        rounds: Seconds of the same work by name.
        name: The one whose speedup is returned.
        over: The others; the fastest of each round counts.

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
    """Return the median of the values other than None, or None if there are none."""
    found = [value for value in values if value is not None]
    return median(found) if found else None
