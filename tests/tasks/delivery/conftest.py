from pathlib import Path

import pytest

from tests.support.deliveries import Place
from tests.support.postgres import Postgres


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of each kind, or a schema of it."""
    if request.param == "sqlite":
        return Place("sqlite", f"sqlite:///{tmp_path}/crm.db")
    server: Postgres = request.getfixturevalue("postgres")
    return Place("postgresql", server.new_schema())


@pytest.fixture
def postgres_place(postgres: Postgres) -> Place:
    """An empty schema of PostgreSQL."""
    return Place("postgresql", postgres.new_schema())
