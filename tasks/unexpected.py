"""Errors that others raise: their words may quote a row, so they are not passed on."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import MillstreamError, UnexpectedError

_ROOM = Path(__file__).parent


def in_words(error: object) -> str:
    """Return an error in one line: our own words, or another's class and what the system says."""
    if isinstance(error, MillstreamError):
        return " ".join(str(error).split())
    said = error.strerror if isinstance(error, OSError) else None
    return ": ".join(filter(None, (type(error).__name__, said)))


def class_and_place(error: BaseException) -> str:
    """Return what stands for an error whose words are left out."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == _ROOM]
    place = f", line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else ""
    return f"{type(error).__name__}{place}"


@contextmanager
def without_quotes(what: str) -> Iterator[None]:
    """Put an error without their words in the place of those that others raise.

    Prefect logs and stores what a task raises. Errors of the system, which name a file, stay.

    Raises:
        UnexpectedError: If something else is raised in the block; it has the same traceback.
    """
    try:
        yield
    except MillstreamError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        plain = UnexpectedError(f"{what}: {class_and_place(error)}; expected no error")
        raise plain.with_traceback(error.__traceback__) from None
