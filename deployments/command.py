"""Run a command: print its error in one line, and return its exit code."""

import sys
from collections.abc import Callable

from tasks.common.errors import INTERRUPTED, MillstreamError
from tasks.common.text import printable


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code, 0 for None; see `flows.command_line`."""
    try:
        return command() or 0
    except MillstreamError as error:
        sys.stderr.write(f"error: {printable(' '.join(str(error).split()))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return INTERRUPTED
