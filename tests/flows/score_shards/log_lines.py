"""Acting at the moment when a line is logged."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_log(logger: str, words: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """Act once, when a line with these words is logged; yield the lines that have them."""
    lines: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                lines.append(record.getMessage())
                if len(lines) == 1:
                    act()

    handler = Watch()
    logging.getLogger(logger).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(logger).removeHandler(handler)
