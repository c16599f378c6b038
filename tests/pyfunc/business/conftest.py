"""Real databases, and a pipeline with look-ups and rules around a static model."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyfunc.business.addresses import EXPECTED
from pyfunc.business.lookup import open_source
from tests.pyfunc.business.sources import CUSTOMERS, SECRETS, Source
from tests.support.postgres import Postgres


@pytest.fixture(params=["postgresql", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """A database with customers, of each kind."""
    name = "postgres_source" if request.param == "postgresql" else "sqlite_source"
    found: Source = request.getfixturevalue(name)
    return found


@pytest.fixture
def postgres_source(postgres: Postgres) -> Source:
    source = Source("postgresql", postgres.new_schema())
    source.execute(*CUSTOMERS)
    return source


@pytest.fixture
def sqlite_source(tmp_path: Path) -> Source:
    source = Source("sqlite", f"sqlite:///{tmp_path}/crm.db")
    source.execute(*CUSTOMERS)
    return source


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Not even where someone asks for every line of every library."""
    open_source("crm", "sqlite:////nowhere.db", 1)  # as of now, tests' own connections log nothing
    names = ("", "pyfunc", "psycopg", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        caplog.set_level(logging.DEBUG, name)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    # A server of Prefect that other tests have left talks by these.
    others = ("httpx", "httpcore", "prefect")
    records = [one for one in caplog.get_records("call") if not one.name.startswith(others)]
    said = ((one.name, one.getMessage().replace(EXPECTED, "")) for one in records)
    assert [name for name, line in said if any(secret in line for secret in SECRETS)] == []
