"""Errors of a delivery in one line, without addresses, statements and values.

The messages of drivers quote all three. `pyfunc.business.source_errors` has those of look-ups: why
a row has no values, in a few words; here is what to do about a table that gets no rows.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pyfunc.business.source_errors import error_code
from tasks.common.errors import DeliveryError, TransientDeliveryError

_ADDRESS = "the address"  # an error before any connection

_Reasons = tuple[tuple[str, str], ...]

# By the start of the SQLSTATE, or of SQLite's name of an error:
# https://www.postgresql.org/docs/current/errcodes-appendix.html, https://sqlite.org/rescode.html
_TRANSIENT: _Reasons = (
    ("55P03", "locked by others; expected a table that is free within {lock} s"),
    ("SQLITE_BUSY", "locked by others; expected a database that is free within {lock} s"),
    ("SQLITE_LOCKED", "locked by others; expected a database that is free within {lock} s"),
    ("57014", "timed out or cancelled; expected statements of at most {statement} s"),
    ("SQLITE_INTERRUPT", "interrupted; expected a statement that ends"),
    ("40", "in conflict with another transaction; expected that one of them ends"),
    ("53100", "the disk of the database is full; expected room"),
    ("SQLITE_FULL", "the disk of the database is full; expected room"),
    ("53300", "the server has no connection left; expected one"),
    ("53", "the server is out of resources; expected memory and disk"),
    ("SQLITE_IOERR", "the file of the database cannot be read or written; expected a sound disk"),
    ("58", "the server cannot read or write its files; expected a sound disk"),
    ("08", "no connection; expected a server that answers"),
    ("57P", "the server ended the connection; expected a server that stays up"),
    ("25P0", "the server ended the transaction; expected it to wait"),
)
_LASTING: _Reasons = (
    (_ADDRESS, "the address has an option that is unknown; expected one of libpq"),
    ("28", "access refused; expected a user that may connect"),
    ("3D", "there is no such database; expected one"),
    ("3F", "there is no such schema; expected one"),
    ("42501", "permission denied; expected a user that may write and create the tables"),
    ("25006", "the database is read-only; expected one that may be written"),
    ("SQLITE_READONLY", "the database is read-only; expected one that may be written"),
    ("SQLITE_CANTOPEN", "the file cannot be opened; expected a folder that may be written"),
    ("SQLITE_PERM", "permission denied; expected a file that may be written"),
    ("SQLITE_NOTADB", "the file is no database of SQLite; expected one"),
    ("SQLITE_CORRUPT", "the file of the database is damaged; expected one that is sound"),
    ("SQLITE_TOOBIG", "a value is too large for the database; expected less"),
    ("54", "more than the database can hold; expected fewer columns or smaller values"),
    ("22P05", "a character that the database cannot store; expected the encoding UTF8"),
    ("22", "a value that the database refuses; expected columns of the types that it has"),
    ("23", "a constraint of the table refuses a row; expected none but of millstream"),
    ("SQLITE_CONSTRAINT", "a constraint of the table refuses a row; expected none of one's own"),
)

# Of libpq, which has no SQLSTATE of a connection that failed; English unless the server is not.
_REFUSED = (
    ("too many c", "53300"),  # clients, or connections of a role or database
    ("remaining connection slots", "53300"),
    ("permission denied", "42501"),
    ("authentication failed", "28"),
    ("no password supplied", "28"),
    ("no pg_hba.conf entry", "28"),
    ('role "', "28"),
    ('database "', "3D"),
)


@contextmanager
def delivery_errors(place: str, lock_s: float, statement_s: float) -> Iterator[None]:
    """Turn errors of drivers into one line of ours.

    Args:
        place: The target, with the shard if there is one.
        lock_s: How long a lock is waited for.
        statement_s: How long a statement may take.

    Raises:
        TransientDeliveryError: If another attempt may succeed.
        DeliveryError: If it will not.
    """
    try:
        yield
    except (SQLAlchemyError, psycopg.Error, sqlite3.Error) as error:
        cause = (error.orig if isinstance(error, DBAPIError) else None) or error
        code = _code_of(cause)
        words = {"lock": f"{lock_s:g}", "statement": f"{statement_s:g}"}
        if reason := _reason(_TRANSIENT, code):
            raise TransientDeliveryError(f"{place}: {reason.format(**words)}") from None
        if reason := _reason(_LASTING, code):
            raise DeliveryError(f"{place}: {reason}{_named_in(cause)}") from None
        named = " ".join(filter(None, (type(cause).__name__, code)))
        raise DeliveryError(f"{place}: the delivery failed ({named}); expected no error") from None


def _reason(reasons: _Reasons, code: str) -> str:
    return next((reason for start, reason in reasons if code.startswith(start)), "")


def _code_of(cause: BaseException) -> str:
    if code := error_code(cause):
        return code
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        said = str(cause).partition("FATAL:")[2]
        return next((found for words, found in _REFUSED if words in said), "08")
    return _ADDRESS if isinstance(cause, psycopg.ProgrammingError) else ""


def _named_in(cause: BaseException) -> str:
    """Return the column and the constraint that the server names; neither is a value."""
    if not isinstance(cause, psycopg.Error):
        return ""
    names = {"column": cause.diag.column_name, "constraint": cause.diag.constraint_name}
    found = ", ".join(f"{what} {name!r}" for what, name in names.items() if name)
    return f" ({found})" if found else ""
