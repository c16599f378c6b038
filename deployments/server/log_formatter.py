"""Log formatter of Prefect's server that redacts URLs in tracebacks."""

import re
from types import TracebackType

from prefect.logging.formatters import PrefectFormatter

_URL = re.compile(r"(https?://)([^\s/?#'\"]*@)?([^\s/?#'\"]*)[^\s'\"]*", re.IGNORECASE)


class ServerFormatter(PrefectFormatter):
    """Prefect's log format, with only scheme and host of the URLs in a traceback.

    A failed notification is logged with the webhook's URL, whose path or query may hold a token:
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/utilities/messaging/memory.py#L382
    """

    def formatException(  # noqa: N802 -- the base's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """Return a traceback without the paths and queries of URLs."""
        return _URL.sub(r"\1\3/…", super().formatException(ei))
