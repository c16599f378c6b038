"""Numbers as people read them, and how they changed."""

from collections.abc import Callable
from datetime import datetime

NONE = "–"

Format = Callable[[float], str]


def count(value: float) -> str:
    """Return a number of things: `12,345`."""
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """Return a share: `48.1 %` for 0.481."""
    return f"{value:.1%}".replace("%", " %")


def points(value: float) -> str:
    """Return a difference of shares in percentage points: `+6.9` for 0.069."""
    return _signed(f"{100 * value:+.1f}")


def decimal(value: float) -> str:
    """Return a figure between 0 and 1, or a loss: `0.9731`."""
    return f"{value:.4f}"


def things(number: float, name: str) -> str:
    """Return a number of things with their name: `1 shard`, `2 shards`."""
    return f"{count(number)} {name}{'' if number == 1 else 's'}"


def seconds(value: float) -> str:
    """Return a duration: `0.42 s`, `17.3 s`, `4 min 07 s`, `2 h 05 min`."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(value: datetime) -> str:
    """Return a time of this machine's zone: `2026-11-23 14:05 UTC`."""
    return f"{value.astimezone():%Y-%m-%d %H:%M %Z}"


def speed(value: float) -> str:
    """Return rows a second: `7.4`, `1,234`."""
    return f"{value:.1f}" if value < 100 else count(value)


def shown(value: float | None, form: Format) -> str:
    """Return a figure in a form, or a dash if there is none."""
    return NONE if value is None or value != value else form(value)


def changed(now: float | None, before: float | None, form: Format) -> str:
    """Return how a figure changed, as its form asks for.

    A share by percentage points, another figure between 0 and 1 by a difference, a number of
    things, a speed or a duration by a percentage.
    """
    if now is None or before is None or now != now or before != before:
        return NONE
    if now == before:
        return "same"
    if form is percent:
        return f"{points(now - before)} points"
    if form is decimal:
        return _signed(f"{now - before:+.4f}")
    return _signed(_percent_with_sign(now / before - 1)) if before else NONE


def share(part: float, whole: float) -> float | None:
    """Return a part of a whole, or None if there is no whole."""
    return part / whole if whole else None


def _signed(text: str) -> str:
    """Give zero no sign, and a real minus to what is below it."""
    return text.lstrip("+-") if not text.strip("+-0.% ") else text.replace("-", "\N{MINUS SIGN}")


def _percent_with_sign(value: float) -> str:
    return f"{value:+.1%}".replace("%", " %")
