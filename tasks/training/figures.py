"""Render figures that show texts of a user: `$`, a line break or a missing glyph is no error.

matplotlib would read `$` as mathematics. Its settings and Python's filters of warnings are global,
so one thread draws at a time.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure

Data = TypeVar("Data")

_PIXELS_PER_INCH = 100
_LONGEST_NAME = 24  # characters

_lock = threading.Lock()


@contextmanager
def drawing(style: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Set matplotlib up for the block, in which figures are made and rendered.

    Args:
        style: Other settings of matplotlib.
    """
    settings: dict[Any, Any] = {"text.parse_math": False, **(style or {})}
    with _lock, mpl.rc_context(settings), warnings.catch_warnings():
        # An empty box in a PNG; in an SVG the browser's font has it.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def draw_png(plot: Callable[[Data], Figure], data: Data) -> bytes:
    """Return a plot of `data` as a PNG file."""
    target = BytesIO()
    with drawing():
        plot(data).savefig(target, format="png", dpi=_PIXELS_PER_INCH)
    return target.getvalue()


def shorten_name(name: str) -> str:
    """Return a label or language as a plot shows it: 24 characters at most, all printable."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    # Replaces line breaks, which take room, and control characters, which XML forbids.
    return "".join(character if character.isprintable() else "·" for character in short)
