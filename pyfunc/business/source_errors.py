"""What went wrong in a database, in words without addresses, statements and values.

The messages of drivers quote all three: `invalid input syntax for type integer: "a key"`.
"""

import re
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

_TIMED_OUT = {"57014", "SQLITE_INTERRUPT"}
_LOCKED = {"55P03", "SQLITE_BUSY", "SQLITE_LOCKED"}
# The server went, or refuses connections: classes 08 and 57P of SQLSTATE, too many connections.
_UNREACHABLE = ("08", "57P", "53300", "SQLITE_CANTOPEN")
# Out of range, or no number, date or UUID, or not in the encoding of the database.
_VALUES_OF_NO_ROW = {"22003", "22007", "22008", "22021", "22P02", "22P05"}
_NOT_ALLOWED = ("28", "42501")
# Names of the query, which is no secret; servers that speak another language quote them otherwise.
_MISSING = re.compile(
    r'no such (table|column): [\w.]+|(relation|column) ("[\w.]+"|[\w.]+) does not exist'
)
# psycopg's errors of a connection have none.
_WITHOUT_CODE = ("OperationalError", "ConnectionTimeout")
_READ_ONLY = {"25006", "SQLITE_READONLY"}


def describe_source_error(error: BaseException, timeout_ms: int) -> str:
    """Return why a query failed.

    Args:
        error: What the query raised.
        timeout_ms: The time that it had.
    """
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    code = error_code(error)
    if code in _TIMED_OUT:
        return f"timed out after {timeout_ms} ms"
    if code in _LOCKED:
        return f"locked for {timeout_ms} ms"
    if code in _READ_ONLY:
        return "the query writes; expected one that reads"
    if code.startswith(_NOT_ALLOWED):
        return f"access refused ({type(cause).__name__})"
    if isinstance(error, NoFreeConnection):
        return "no free connection"
    if is_disconnect(error):
        return "no connection"
    named = " ".join(filter(None, (type(cause).__name__, code)))
    missing = _MISSING.fullmatch(next(iter(str(cause).splitlines()), ""))
    return f"the query failed ({named}){f': {missing[0]}' if missing else ''}"


def is_disconnect(error: BaseException) -> bool:
    """Return whether the connection was lost, or could not be made; its message has the address."""
    if code := error_code(error):
        return code.startswith(_UNREACHABLE)
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or type(error.orig).__name__ in _WITHOUT_CODE
    return isinstance(error, OSError)


def is_of_a_value(error: BaseException) -> bool:
    """Return whether a query failed because of a value: a key, or one of the row that it has.

    psycopg gives its own errors no code, as for a date after the year 9999, and raises those of
    others as they are, as for JSON of too many levels.
    """
    if code := error_code(error):
        return code.startswith("22")
    name = type(getattr(error, "orig", None)).__name__
    return name == "DataError" or isinstance(error, ValueError | RecursionError)


def is_of_the_query(error: BaseException) -> bool:
    """Return whether PostgreSQL takes a query for wrong, whatever its values are."""
    return error_code(error).startswith("42")


def is_of_no_row(error: BaseException) -> bool:
    """Return whether a query failed because no row can have its value."""
    return error_code(error) in _VALUES_OF_NO_ROW


def error_code(error: BaseException) -> str:
    """Return the SQLSTATE of an error of PostgreSQL, or the name of one of SQLite."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    found = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return found or ""
