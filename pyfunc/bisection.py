"""Isolate the items of a failing batch by bisection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """The work raised on this item; `error` is the exception's class, as a message may quote it."""

    error: str


def bisect_failures(
    work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | Failure]:
    """Do `work` on all items; if it raises, on each half, down to single items.

    If it raises on each of n items, it is called 2n - 1 times, on n (1 + log2 n) items in total.

    Args:
        work: Returns a result an item, in order; its errors depend on the items.
        items: Its input.
    """
    if not items:
        return []
    try:
        return list(work(items))
    except BaseException as error:
        if not is_failure(error):
            raise
        if len(items) == 1:
            return [Failure(type(error).__name__)]
    middle = len(items) // 2
    return [*bisect_failures(work, items[:middle]), *bisect_failures(work, items[middle:])]


def is_failure(error: BaseException) -> bool:
    """Return whether an exception is a failure, not an interrupt or exit."""
    # A panic of the tokenizers library is no Exception, and its class cannot be imported
    # (https://github.com/PyO3/pyo3/issues/3918).
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
