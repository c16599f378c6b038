"""Check look-ups against their sources, and rules against an example, before anything is built."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pyfunc.business.lookup import open_source
from pyfunc.business.source_errors import describe_source_error, is_disconnect
from pyfunc.business.spec import BusinessSpec, ColumnType, LookupSpec
from pyfunc.errors import SourceError
from tasks.business.rules_probe import probe_rules, read_rules
from tasks.business.types import BusinessPlan
from tasks.business.written_logic import BusinessLogicFile, LookupChoice
from tasks.common.errors import ParameterError
from tasks.common.files import sha256_of
from tasks.sources.addresses import require_address

# A server that a build asks for the columns of a query may be slower than one that a row asks.
_TIMEOUT_MS = 10_000


def plan_business(
    file: BusinessLogicFile, path: Path, labels: Sequence[str]
) -> BusinessPlan | None:
    """Return the look-ups and rules of a composition file, with the types of their columns.

    Each query is run once without a key, and each rule on an example of each label whose columns
    and look-ups are null.

    Args:
        file: What the file says.
        path: The composition file.
        labels: Those that the pipeline answers with.

    Raises:
        ParameterError: If a source has no address or does not answer, a query fails, or the rules
            are missing, are no Python, or read or return something else; with file and place.
    """
    if not file.has_logic:
        return None
    lookups = tuple(
        _plan_lookup(choice, f"{path}: lookups.{choice.name}") for choice in file.lookups
    )
    spec = BusinessSpec(lookups, file.columns)
    if not file.rules:
        return BusinessPlan(spec=spec)
    rules_path = path.parent / file.rules
    read_rules(rules_path)
    digest = sha256_of(rules_path)
    spec = probe_rules(spec, rules_path, digest, labels, file.decisions)
    return BusinessPlan(spec=spec, rules_path=rules_path, rules_sha256=digest)


def _plan_lookup(choice: LookupChoice, place: str) -> LookupSpec:
    try:
        address = require_address(choice.source).get_secret_value()
    except ParameterError as error:
        raise ParameterError(f"{place}.source: {error}") from error
    columns = _describe_query(choice, address, place)
    (_, key_type), *others = columns
    names = [name for name, _ in others]
    if unknown := sorted(set(choice.columns) - set(names)):
        raise ParameterError(f"{place}.columns: {unknown}; expected columns of the query: {names}")
    if repeated := sorted({name for name in names if names.count(name) > 1 or not name}):
        raise ParameterError(f"{place}.query: the columns {repeated} twice; expected each once")
    return LookupSpec(
        name=choice.name,
        source=choice.source,
        key=choice.key,
        query=choice.query,
        key_type=key_type,
        columns=dict(others) | choice.columns,
        missing=choice.missing,
        on_error=choice.when_failed,
        timeout_ms=choice.timeout_ms,
    )


def _describe_query(choice: LookupChoice, address: str, place: str) -> list[tuple[str, ColumnType]]:
    database = open_source(choice.source, address, _TIMEOUT_MS)
    try:
        return database.describe(choice.query)
    except SQLAlchemyError as error:
        reason = describe_source_error(error, _TIMEOUT_MS)
        raise ParameterError(f"{place}.query: {choice.source}: {reason}{_message(error)}") from None
    except SourceError as error:
        raise ParameterError(f"{place}.source: {choice.source}: {error}") from error
    finally:
        database.close()


def _message(error: SQLAlchemyError) -> str:
    """Return what a database says of a query that has no keys yet, unless of its address."""
    if not isinstance(error, DBAPIError) or is_disconnect(error):
        return ""
    lines = str(error.orig).splitlines()
    return f": {lines[0]}" if lines else ""
