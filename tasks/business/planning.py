"""Check look-ups against their sources, and rules against an example, before anything is built."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pyfunc.business.database import Database
from pyfunc.business.lookup import open_source
from pyfunc.business.source_errors import describe_source_error, is_disconnect, is_of_the_query
from pyfunc.business.spec import BusinessSpec, KeyType, LookupSpec
from pyfunc.errors import SourceError
from tasks.business.rules_probe import probe_rules, read_rules
from tasks.business.types import BusinessPlan, PossibleAnswers
from tasks.business.written_logic import BusinessLogicFile, LookupChoice
from tasks.common.errors import ParameterError
from tasks.common.files import sha256_of
from tasks.sources.addresses import require_address

_COLUMN = re.compile(r"[^\W\d]\w*")  # the view that tells SQLite's types says `tier:1` of a second

# A server that a build asks for the columns of a query may be slower than one that a row asks.
_TIMEOUT_MS = 10_000

_EXAMPLES: dict[KeyType, Any] = {
    "string": "",
    "integer": 0,
    "number": 0.5,
    "boolean": True,
    "timestamp": datetime(2000, 1, 1, tzinfo=UTC),
    "date": date(2000, 1, 1),
    "uuid": str(UUID(int=0)),
}


def plan_business(
    file: BusinessLogicFile, path: Path, answers: PossibleAnswers
) -> BusinessPlan | None:
    """Return the look-ups and rules of a composition file, with the types of their columns.

    Each query is run once without a key, and each rule on an example of each label whose columns
    and look-ups are null.

    Args:
        file: What the file says.
        path: The composition file.
        answers: Those of the pipeline.

    Raises:
        ParameterError: If a source has no address or does not answer, a query fails, or the rules
            are missing, are no Python, or read or return something else; with file and place.
    """
    if not file.has_logic:
        return None
    lookups = tuple(
        _plan_lookup(choice, f"{path}: lookups.{choice.name}") for choice in file.lookups
    )
    _check_output_columns(lookups, path)
    spec = BusinessSpec(lookups, file.columns)
    if not file.rules:
        return BusinessPlan(spec=spec)
    rules_path = path.parent / file.rules
    read_rules(rules_path)
    digest = sha256_of(rules_path)
    spec = probe_rules(spec, rules_path, digest, answers, file.decisions)
    return BusinessPlan(spec=spec, rules_path=rules_path, rules_sha256=digest)


def _check_output_columns(lookups: Sequence[LookupSpec], path: Path) -> None:
    """Refuse the column `b_c` of a look-up `a` beside the column `c` of a look-up `a_b`."""
    names = [one.output_column(name) for one in lookups for name in one.columns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ParameterError(
            f"{path}: lookups: two columns are {repeated[0]} in the output; expected other names"
        )


def _plan_lookup(choice: LookupChoice, place: str) -> LookupSpec:
    try:
        address = require_address(choice.source).get_secret_value()
    except ParameterError as error:
        raise ParameterError(f"{place}.source: {error}") from error
    columns = _describe_query(choice, address, place)
    (_, key_type), *rest = columns
    names, found = [name for name, _ in rest], dict(rest)
    if unknown := sorted(set(choice.columns) - set(names)):
        raise ParameterError(f"{place}.columns: {unknown}; expected columns of the query: {names}")
    if others := [name for name in names if not _COLUMN.fullmatch(name)]:
        raise ParameterError(
            f"{place}.query: the column {others[0]!r}; expected names of letters, digits and _, "
            "each once, as in: count(*) as orders"
        )
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ParameterError(f"{place}.query: the columns {repeated} twice; expected each once")
    return LookupSpec(
        name=choice.name,
        source=choice.source,
        key=choice.key,
        query=choice.query,
        key_type=key_type,
        columns={name: "string" if kind == "uuid" else kind for name, kind in found.items()}
        | choice.columns,
        missing=choice.missing,
        on_error=choice.when_failed,
        timeout_ms=choice.timeout_ms,
    )


def _describe_query(choice: LookupChoice, address: str, place: str) -> list[tuple[str, KeyType]]:
    database = open_source(choice.source, address, _TIMEOUT_MS)
    try:
        columns = database.describe(choice.query)
        _try_key(database, choice.query, columns[0][1])
        return columns
    except SQLAlchemyError as error:
        reason = describe_source_error(error, _TIMEOUT_MS)
        message = _message(error)
        said = "" if reason.endswith(message) else message
        raise ParameterError(f"{place}.query: {choice.source}: {reason}{said}") from None
    except SourceError as error:
        raise ParameterError(f"{place}.source: {choice.source}: {error}") from None
    finally:
        database.close()


def _try_key(database: Database, query: str, kind: KeyType) -> None:
    """Find what a null cannot show: a first column of another type than what keys are compared to.

    Raises:
        SQLAlchemyError: If the database has no such comparison.
        SourceError: If it hangs.
    """
    try:
        database.fetch(query, [_EXAMPLES[kind]])
    except SQLAlchemyError as error:
        if is_of_the_query(error):  # not of this example, nor of how long it takes
            raise


def _message(error: SQLAlchemyError) -> str:
    """Return what a database says of a query that has no keys yet, unless of its address."""
    if is_disconnect(error):
        return ""
    lines = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()
    return f": {lines[0]}" if lines else ""
