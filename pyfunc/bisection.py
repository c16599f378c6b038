"""Keeps an item that makes the work raise from taking the others with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """The work raised on this item alone; `error` names the exception's class.

    The message is left out: it may quote the item.
    """

    error: str


def bisect_failures(
    work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | Failure]:
    """Do `work` on all items, and where it raises on halves, down to the items that cause it.

    If it raises on all n items, it is called 2n - 1 times, on n (1 + log2 n) items in total.

    Args:
        work: Returns a result an item, in order; what it raises depends on the items.
        items: What to work on.
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
    """Return whether work failed, and was not told to stop."""
    # A panic of the tokenizers library is no Exception, and its class cannot be imported
    # (https://github.com/PyO3/pyo3/issues/3918).
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
