"""Tasks find the address by its name, which is all that Prefect gets, and retry what may pass."""

import os
import threading
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from pydantic import SecretStr

from pyfunc.business.addresses import source_variable
from tasks.common.errors import DeliveryError, ParameterError
from tasks.delivery import database, prefect_tasks
from tasks.delivery.checks import prepare_target
from tasks.delivery.types import Delivery
from tasks.output.records import ShardRecord, write_record
from tests.support.deliveries import TARGET, Place, publish, shard_id, texts
from tests.support.postgres import PASSWORD
from tests.support.scoring_command import wait_until

VALUE = "the-text-of-a-row-that-none-may-quote"
LOCKED = "locked by others; expected a table that is free within 0.2 s"
VARIABLE = source_variable(TARGET.source)


SCHEMA = pa.schema([("text", pa.string()), ("shard", pa.string()), ("row", pa.int64())])


@flow(name="delivering")
def delivering(records: list[ShardRecord], output: Path) -> tuple[Delivery, ...]:
    """Deliver as scoring does, and prove it."""
    prefect_tasks.check_delivery_target(TARGET)
    prepare_target(TARGET, SecretStr(os.environ[VARIABLE]), {"a.csv": SCHEMA})
    prefect_tasks.remove_obsolete_deliveries(TARGET, ("reviews-0123456789abcdef",), ())
    delivered = []
    for record in records:
        write_record(output, record)
        delivered.append(prefect_tasks.deliver_shard(record.shard.id, output, TARGET))
    expected = {record.shard.id: 1 for record in records}
    prefect_tasks.prove_delivery(TARGET, tuple(delivered), expected)
    return prefect_tasks.find_delivered(tuple(records), TARGET)


def content_of_prefect() -> bytes:
    """Return all that Prefect has stored."""
    file = Path(PREFECT_API_DATABASE_CONNECTION_URL.value().partition(":///")[2])
    folders = [file.parent, Path(os.environ["PREFECT_HOME"])]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.usefixtures("prefect_harness")
def test_tasks_deliver_through_a_lock_and_keep_the_address_to_themselves(
    postgres_place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(VARIABLE, postgres_place.url)
    monkeypatch.setattr(database, "LOCK_S", 0.2)
    records = [publish(tmp_path, texts([VALUE]), shard_id(number)) for number in (1, 2)]
    delivering(records[:1], tmp_path)

    def hold() -> None:
        with psycopg.connect(postgres_place.url) as connection:
            connection.execute("lock table predictions in share mode")
            held.set()
            wait_until(lambda: LOCKED in caplog.text, "a failure")

    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    deliveries = delivering(records, tmp_path)
    thread.join()
    assert [(delivery.shard, delivery.rows) for delivery in deliveries] == [
        (shard_id(1), 1),
        (shard_id(2), 1),
    ]
    assert postgres_place.counts() == {shard_id(1): 1, shard_id(2): 1}
    assert LOCKED in caplog.text
    postgres_place.query("alter table predictions drop column text")
    with pytest.raises(DeliveryError, match="has no column 'text'; expected one of type text"):
        delivering([publish(tmp_path, texts([VALUE, VALUE]), shard_id(1))], tmp_path)
    stored = content_of_prefect()
    assert b"has no column 'text'" in stored or "has no column 'text'" in caplog.text
    for secret in (PASSWORD, VALUE):
        assert secret not in caplog.text
        assert secret.encode() not in stored


def test_check_runs_without_a_flow(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    check: Any = prefect_tasks.check_delivery_target
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ParameterError, match=f"{VARIABLE}: not set, and there is no Prefect block"):
        check(TARGET)
    monkeypatch.setenv(VARIABLE, place.url)
    check(TARGET)
