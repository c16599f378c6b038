"""The address of a source comes from its variable, else from a block of Prefect."""

import os
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.system import Secret
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver

from pyfunc.business.addresses import source_variable
from tasks.common.errors import ParameterError
from tasks.sources.addresses import export_addresses, require_address

PASSWORD = "the-password-of-a-database"


@flow
def asking(name: str) -> str:
    return require_address(name).get_secret_value()


def test_the_variable_of_a_source_has_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM_EU", "sqlite:////data/crm.db")
    found = require_address("crm_eu")
    assert found.get_secret_value() == "sqlite:////data/crm.db"
    assert "data" not in repr(found)


@pytest.mark.usefixtures("prefect_harness")
def test_a_run_finds_the_address_in_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret: Any = Secret(value="postgresql://scorer@db.internal/orders")
    secret.save("millstream-source-order-book", overwrite=True)
    assert asking("order_book") == "postgresql://scorer@db.internal/orders"
    monkeypatch.setenv(source_variable("order_book"), "sqlite:////orders.db")
    assert asking("order_book") == "sqlite:////orders.db"


@pytest.mark.usefixtures("prefect_harness")
def test_a_connector_is_taken_with_the_driver_that_is_there(tmp_path: Path) -> None:
    connection = ConnectionComponents(
        driver=SyncDriver.SQLITE_PYSQLITE, database=str(tmp_path / "crm.db")
    )
    connector: Any = SqlAlchemyConnector(connection_info=connection)
    connector.save("millstream-source-crm", overwrite=True)
    assert asking("crm").endswith("crm.db")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (f"mysql://scorer:{PASSWORD}@host/crm", "the scheme is not supported"),
        (f"/data/{PASSWORD}.xlsx", "neither a database nor a file"),
        (f"postgresql://scorer:{PASSWORD}@host:port/crm", "not an address"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_another_address_is_refused_without_being_quoted(
    address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", address)
    with pytest.raises(ParameterError, match=rf"^MILLSTREAM_SOURCE_CRM: {reason}") as caught:
        require_address("crm")
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("prefect_harness")
def test_a_source_without_an_address_is_named() -> None:
    reason = (
        r"^MILLSTREAM_SOURCE_STOCK: not set, and there is no Prefect block millstream-source-stock"
    )
    with pytest.raises(ParameterError, match=reason):
        require_address("stock")
    with pytest.raises(ParameterError, match=reason):
        asking("stock")


def test_addresses_are_exported_for_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", "sqlite:////crm.db")
    export_addresses(["crm"])
    assert os.environ["MILLSTREAM_SOURCE_CRM"] == "sqlite:////crm.db"
