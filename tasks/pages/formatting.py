"""Format numbers, durations and times for reports, and the change of a metric between two runs."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

DASH = "–"

Formatter = Callable[[float], str]


def count(value: float) -> str:
    """Format a whole number: `12,345`."""
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """Format a share: `48.1 %` for 0.481."""
    return f"{100 * value:.1f} %"


def decimal(value: float) -> str:
    """Format a loss, or a metric between 0 and 1: `0.9731`."""
    return f"{value:.4f}"


def seconds(value: float) -> str:
    """Format a duration: `0.42 s`, `17.3 s`, `4 min 07 s`, `2 h 05 min`."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def speed(value: float) -> str:
    """Format rows a second: `7.4`, `1,234`."""
    return f"{value:.1f}" if value < 100 else count(value)


def format_count_of(number: float, name: str) -> str:
    """Format a number with a noun: `1 shard`, `2 shards`."""
    return f"{count(number)} {name}{'' if number == 1 else 's'}"


def format_time(value: datetime) -> str:
    """Format a time in this machine's time zone: `2026-11-23 14:05 UTC`."""
    return f"{value.astimezone():%Y-%m-%d %H:%M %Z}"


def format_or_dash(value: float | None, formatter: Formatter) -> str:
    """Format a value, or return a dash for None and NaN."""
    return DASH if value is None or value != value else formatter(value)


def format_change(now: float | None, before: float | None, formatter: Formatter) -> str:
    """Format a difference: `+6.9 points` for `percent`, `+0.1000` for `decimal`, else `+50.0 %`.

    Equal values are `same`; None and NaN make a dash.
    """
    if now is None or before is None or now != now or before != before:
        return DASH
    if now == before:
        return "same"
    if formatter is percent:
        return _signed(f"{100 * (now - before):+.1f} points")
    if formatter is decimal:
        return _signed(f"{now - before:+.4f}")
    return _signed(f"{100 * (now / before - 1):+.1f} %") if before else DASH


def share(part: float, whole: float) -> float | None:
    """Return a part of a whole, or None if the whole is 0."""
    return part / whole if whole else None


def describe_accuracies(summary: Mapping[str, Any]) -> str:
    """Return the difference of two arms' accuracies in a sentence; empty if it is not known.

    Args:
        summary: The fields of a run's summary, or its metrics.
    """
    if "accuracy_difference" not in summary:
        return ""
    value, low, high = (
        f"{100 * summary[f'accuracy_difference{bound}']:+.1f}" for bound in ("", "_low", "_high")
    )
    shows = summary["accuracy_difference_low"] > 0 or summary["accuracy_difference_high"] < 0
    verdict = "one is better than the other" if shows else "it may be chance"
    return (
        f"The challenger's accuracy minus the control's is {value} points, with a 95 % interval "
        f"from {low} to {high} points: {verdict}."
    ).replace("-", "\N{MINUS SIGN}")


def _signed(text: str) -> str:
    """Remove the sign of a number that is rounded to zero; write a minus sign for a hyphen."""
    number, *unit = text.split(" ")
    if not number.strip("+-0."):
        number = number.lstrip("+-")
    return " ".join((number, *unit)).replace("-", "\N{MINUS SIGN}")
