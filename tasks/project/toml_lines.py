"""The line of a key in a TOML file, which Python's `tomllib` does not give."""

import tomllib
from collections.abc import Sequence
from contextlib import suppress


def line_of_key(text: str, path: Sequence[str | int]) -> int | None:
    """Return the line on which the value of a key is complete, counted from 1.

    Args:
        text: The file.
        path: The key, with the tables and list positions above it.

    Returns:
        The line; none if the file does not have the key.
    """
    lines = text.splitlines(keepends=True)
    for number in range(1, len(lines) + 1):
        with suppress(tomllib.TOMLDecodeError):  # the part ends within a value
            if _has(tomllib.loads("".join(lines[:number])), path):
                return number
    return None


def _has(found: object, path: Sequence[str | int]) -> bool:
    for step in path:
        if isinstance(found, dict) and step in found:
            found = found[str(step)]
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return False
    return True
