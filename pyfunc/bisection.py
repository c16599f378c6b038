"""Isolate the items of a failing batch by bisection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """The work raised on this item; `error` says what, without the message, which may quote it."""

    error: str


def _class_name(error: BaseException) -> str:
    return type(error).__name__


def bisect_failures(
    work: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    describe: Callable[[BaseException], str] = _class_name,
) -> list[Result | Failure]:
    """Do `work` on all items; if it raises, on each half, down to single items.

    If it raises on each of n items, it is called 2n - 1 times, on n (1 + log2 n) items in total.

    Args:
        work: Returns a result an item, in order; its errors depend on the items.
        items: Its input.
        describe: Returns what a failure says of an exception: the name of its class.
    """
    if not items:
        return []
    try:
        return list(work(items))
    except BaseException as error:
        if not is_failure(error):
            raise
        if len(items) == 1:
            return [Failure(describe(error))]
    middle = len(items) // 2
    return [
        *bisect_failures(work, items[:middle], describe),
        *bisect_failures(work, items[middle:], describe),
    ]


def is_failure(error: BaseException) -> bool:
    """Return whether an exception is a failure, not an interrupt or exit."""
    # A panic of the tokenizers library is no Exception, and its class cannot be imported
    # (https://github.com/PyO3/pyo3/issues/3918).
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
