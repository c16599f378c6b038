from collections.abc import Callable

import pytest

from tasks.pages.formatting import (
    Formatter,
    count,
    decimal,
    format_change,
    format_count_of,
    format_or_dash,
    percent,
    seconds,
    speed,
)


@pytest.mark.parametrize(
    ("formatter", "value", "text"),
    [
        (count, 1234567.0, "1,234,567"),
        (percent, 0.481, "48.1 %"),
        (percent, 1.0, "100.0 %"),
        (decimal, 0.97314, "0.9731"),
        (seconds, 0.042, "0.04 s"),
        (seconds, 59.94, "59.9 s"),
        (seconds, 59.96, "1 min 00 s"),
        (seconds, 3599.0, "59 min 59 s"),
        (seconds, 7500.0, "2 h 05 min"),
        (speed, 7.44, "7.4"),
        (speed, 1234.5, "1,234"),
    ],
)
def test_numbers_read_as_people_write_them(
    formatter: Callable[[float], str], value: float, text: str
) -> None:
    assert formatter(value) == text


@pytest.mark.parametrize(
    ("now", "before", "formatter", "text"),
    [
        (0.55, 0.481, percent, "+6.9 points"),
        (0.481, 0.55, percent, "−6.9 points"),
        (0.5, 0.5, percent, "same"),
        (0.50001, 0.5, percent, "0.0 points"),
        (0.5, 0.0, percent, "+50.0 points"),
        (0.8, 0.9, decimal, "−0.1000"),
        (150.0, 100.0, count, "+50.0 %"),
        (3.0, 0.0, count, "–"),
        (0.0, 0.0, count, "same"),
        (30.0, 60.0, seconds, "−50.0 %"),
        (1.0, None, count, "–"),
        (None, 1.0, count, "–"),
        (float("nan"), 0.5, decimal, "–"),
    ],
)
def test_change_is_formatted_as_its_metric_is(
    now: float | None, before: float | None, formatter: Formatter, text: str
) -> None:
    assert format_change(now, before, formatter) == text


def test_what_is_not_known_is_a_dash() -> None:
    assert format_or_dash(None, count) == format_or_dash(float("nan"), count) == "–"
    assert format_or_dash(0.0, count) == "0"


def test_one_thing_is_not_many() -> None:
    assert [format_count_of(number, "row") for number in (0, 1, 2000)] == [
        "0 rows",
        "1 row",
        "2,000 rows",
    ]
