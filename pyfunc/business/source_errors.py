"""What went wrong in a database, in words without addresses, statements and values.

The messages of drivers quote all three: `invalid input syntax for type integer: "a key"`.
"""

from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

_TIMED_OUT = {"57014", "SQLITE_INTERRUPT"}
_LOCKED = {"55P03", "SQLITE_BUSY", "SQLITE_LOCKED"}
# The server went, or refuses connections: classes 08 and 57P of SQLSTATE, too many connections.
_UNREACHABLE = ("08", "57P", "53300", "SQLITE_CANTOPEN")
# Out of range, or no number, date or UUID, or not in the encoding of the database.
_VALUES_OF_NO_ROW = {"22003", "22007", "22008", "22021", "22P02", "22P05"}
_NOT_ALLOWED = ("28", "42501")


def describe_source_error(error: BaseException, timeout_ms: int) -> str:
    """Return why a query failed.

    Args:
        error: What the query raised.
        timeout_ms: The time that it had.
    """
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    if code in _TIMED_OUT:
        return f"timed out after {timeout_ms} ms"
    if code in _LOCKED:
        return f"locked for {timeout_ms} ms"
    if code.startswith(_NOT_ALLOWED):
        return f"access refused ({type(cause).__name__})"
    if code.startswith(_UNREACHABLE) or (not code and is_disconnect(error)):
        return "no connection"
    return f"the query failed ({type(cause).__name__}{f' {code}' if code else ''})"


def is_disconnect(error: BaseException) -> bool:
    """Return whether the connection was lost, or could not be made."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or type(error.orig).__name__ in (
            "OperationalError",
            "ConnectionTimeout",
        )
    return isinstance(error, OSError | TimeoutError)


def is_of_a_value(error: BaseException) -> bool:
    """Return whether a query failed because of one of its values, as a text among numbers."""
    return _sqlstate(error).startswith("22")


def is_of_no_row(error: BaseException) -> bool:
    """Return whether a query failed because no row can have its value."""
    return _sqlstate(error) in _VALUES_OF_NO_ROW


def _sqlstate(error: BaseException) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


EXPECTED_FAILURES = (SQLAlchemyError, OSError)
