"""A shard is delivered once, whole, and skipped as long as it is there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.common.errors import DeliveryError, ParameterError
from tasks.delivery.checks import prepare_target
from tasks.delivery.types import DeliveryTarget
from tasks.output.records import table_path
from tests.support.deliveries import TARGET, Place, deliver_alone, publish, shard_id, texts


def test_shard_is_delivered_and_skipped_as_long_as_it_is_there(
    place: Place, tmp_path: Path
) -> None:
    record = publish(tmp_path, texts(["a film", None, ""]))
    first = deliver_alone(record, tmp_path, TARGET, place.address)
    assert (first.rows, first.skipped, first.target) == (3, False, "crm.predictions")
    assert place.rows("text, row") == [("a film", 1), (None, 2), ("", 3)]
    again = deliver_alone(record, tmp_path, TARGET, place.address)
    assert (again.rows, again.skipped) == (3, True)
    place.query("delete from predictions where row = 2")
    restored = deliver_alone(record, tmp_path, TARGET, place.address)
    assert (restored.rows, restored.skipped) == (3, False)
    assert place.counts() == place.ledger() == {shard_id(): 3}


def test_shard_that_was_scored_again_replaces_its_rows(place: Place, tmp_path: Path) -> None:
    deliver_alone(publish(tmp_path, texts(["a", "b", "c"])), tmp_path, TARGET, place.address)
    other = publish(tmp_path, texts(["x"]), shard_id(2))
    deliver_alone(other, tmp_path, TARGET, place.address)
    deliver_alone(publish(tmp_path, texts(["d", "e"])), tmp_path, TARGET, place.address)
    assert place.rows("text") == [("d",), ("e",), ("x",)]
    assert place.counts() == place.ledger() == {shard_id(): 2, shard_id(2): 1}


def test_table_that_was_dropped_is_made_and_filled_again(place: Place, tmp_path: Path) -> None:
    record, empty = publish(tmp_path, texts(["a"])), publish(tmp_path, texts([]), shard_id(2))
    for shard in (record, empty):
        assert not deliver_alone(shard, tmp_path, TARGET, place.address).skipped
    place.query("drop table predictions")
    for shard in (record, empty):
        assert not deliver_alone(shard, tmp_path, TARGET, place.address).skipped
    assert place.rows("text") == [("a",)]
    assert place.ledger() == {shard_id(): 1, shard_id(2): 0}


def test_altered_file_is_refused_and_nothing_is_written(place: Place, tmp_path: Path) -> None:
    record = publish(tmp_path, texts(["a"]))
    publish(tmp_path, texts(["b"]))
    with pytest.raises(DeliveryError, match=r"-00001: its predictions file was altered \(SHA-256 "):
        deliver_alone(record, tmp_path, TARGET, place.address)


def test_rule_decides_which_rows_are_delivered(place: Place, tmp_path: Path) -> None:
    rows = texts(["a", "b", "c", "d\0"]).append_column(
        "decision_deliver", pa.array([True, False, None, False])
    )
    done = deliver_alone(publish(tmp_path, rows), tmp_path, TARGET, place.address)
    assert (done.rows, done.replaced) == (1, 0)
    assert place.rows("text") == [("a",)]
    named_so = texts(["a", "b"]).append_column("decision_deliver", pa.array(["no", "no"]))
    elsewhere = DeliveryTarget(source="crm", table="others")
    record = publish(tmp_path, named_so)
    assert deliver_alone(record, tmp_path, elsewhere, place.address).rows == 2


def test_rejected_rows_go_to_a_table_of_their_own(place: Place, tmp_path: Path) -> None:
    rows = pa.table(
        {
            "text": pa.array([None, "x"], pa.string()),
            "shard": [shard_id()] * 2,
            "row": [3, 5],
            "line": pa.array([4, None], pa.int64()),
            "raw": pa.array([b'{"a\xff\0', None], pa.binary()),
            "step": ["read", "language"],
            "reason": ["no JSON", "foreign"],
        }
    )
    record = publish(tmp_path, rows, folder="rejected")
    target = DeliveryTarget(source="crm", table="rejected")
    done = deliver_alone(record, tmp_path, target, place.address, folder="rejected")
    assert (done.rows, done.target) == (2, "crm.rejected")
    assert place.rows("text, row, line, raw, reason", "rejected") == [
        (None, 3, 4, b'{"a\xff\0', "no JSON"),
        ("x", 5, None, None, "foreign"),
    ]


def test_threads_that_deliver_into_an_empty_database_make_its_tables_once(
    place: Place, tmp_path: Path
) -> None:
    records = [publish(tmp_path, texts(["a"] * 20), shard_id(n)) for n in range(1, 17)]
    with ThreadPoolExecutor(8) as threads:
        work = [
            threads.submit(deliver_alone, record, tmp_path, TARGET, place.address)
            for record in records * 2
        ]
    assert sum(delivery.result().skipped for delivery in work) == 16
    assert place.counts() == place.ledger() == {shard_id(n): 20 for n in range(1, 17)}


def test_shard_of_many_parts_is_whole(place: Place, tmp_path: Path) -> None:
    record = publish(tmp_path, texts([f"film {n}" for n in range(2_500)]))
    assert deliver_alone(record, tmp_path, TARGET, place.address).rows == 2_500
    assert place.query("select count(distinct row), max(row) from predictions") == [(2_500, 2_500)]


def test_shard_whose_file_is_gone_is_no_error_of_the_database(place: Place, tmp_path: Path) -> None:
    record = publish(tmp_path, texts(["a"]))
    table_path(tmp_path, "predictions", shard_id()).unlink()
    with pytest.raises(FileNotFoundError):
        deliver_alone(record, tmp_path, TARGET, place.address)


def test_schema_of_the_target_decides_where_the_tables_are(
    postgres_place: Place, tmp_path: Path
) -> None:
    postgres_place.query('create schema "Sales"')
    record = publish(tmp_path, texts(["a"]))
    target = DeliveryTarget.parse("deliver_to", "crm.Sales.Predictions")
    deliver_alone(record, tmp_path, target, postgres_place.address)
    assert postgres_place.rows("text", '"Sales"."Predictions"') == [("a",)]
    assert postgres_place.query('select target from "Sales".millstream_deliveries') == [
        ("Predictions",)
    ]
    absent = DeliveryTarget.parse("deliver_to", "crm.absent.predictions")
    with pytest.raises(DeliveryError, match="there is no such schema"):
        prepare_target(absent, postgres_place.address, {"a.csv": texts([]).schema})


def test_schema_is_refused_where_there_are_none(tmp_path: Path) -> None:
    place = Place("sqlite", f"sqlite:///{tmp_path}/crm.db")
    target = DeliveryTarget.parse("deliver_to", "crm.public.predictions")
    record = publish(tmp_path, texts(["a"]))
    with pytest.raises(ParameterError, match=r"which has no schemas; expected crm\.predictions"):
        deliver_alone(record, tmp_path, target, place.address)
