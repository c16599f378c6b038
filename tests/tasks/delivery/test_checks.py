"""Obsolete shards go, those of others stay, and the end proves the rows of each shard."""

from pathlib import Path

import pytest

from tasks.common.errors import ProofError
from tasks.delivery.checks import find_delivered, prove_delivery, remove_obsolete
from tasks.delivery.types import DeliveryTarget
from tests.support.deliveries import TARGET, Place, deliver_alone, publish, shard_id, texts

FILE, OTHER = "reviews-0123456789abcdef", "reviews-0123456789abcdee"
REJECTED = DeliveryTarget(source="crm", table="rejected")


def deliver(
    place: Place, folder: Path, shard: str, rows: int, target: DeliveryTarget = TARGET
) -> None:
    record = publish(folder, texts(["a"] * rows), shard)
    deliver_alone(record, folder, target, place.address)


def test_shards_that_a_file_no_longer_has_are_removed(place: Place, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        deliver(place, tmp_path, shard_id(number, FILE), number)
        deliver(place, tmp_path, shard_id(number, OTHER), 1)
        deliver(place, tmp_path, shard_id(number, FILE), 1, REJECTED)
    keep = {shard_id(1, FILE)}
    assert remove_obsolete(TARGET, place.address, {FILE}, keep) == 2
    expected = {shard_id(1, FILE): 1, **{shard_id(number, OTHER): 1 for number in (1, 2, 3)}}
    assert place.counts() == expected
    assert place.query("select count(*) from millstream_deliveries") == [(4 + 3,)]
    assert sum(place.counts("rejected").values()) == 3
    assert remove_obsolete(TARGET, place.address, {FILE}, keep) == 0
    deliver(place, tmp_path, shard_id(2, FILE), 5)
    assert place.counts() == {**expected, shard_id(2, FILE): 5}


def test_many_obsolete_shards_are_removed(place: Place, tmp_path: Path) -> None:
    deliver(place, tmp_path, shard_id(1), 1)
    others = [shard_id(number) for number in range(2, 1_300)]
    rows = ", ".join(f"('{shard}', 1)" for shard in others)
    place.query(f"insert into predictions (shard, row) values {rows}")
    lines = ", ".join(f"('{shard}', 'predictions')" for shard in others)
    place.query(f"insert into millstream_deliveries (shard, target) values {lines}")
    assert remove_obsolete(TARGET, place.address, {FILE}, {shard_id(1)}) == 1_298
    assert place.counts() == place.ledger() == {shard_id(1): 1}


def test_nothing_is_removed_where_nothing_was_delivered(place: Place, tmp_path: Path) -> None:
    assert remove_obsolete(TARGET, place.address, {FILE}, set()) == 0
    deliver(place, tmp_path, shard_id(1), 1, REJECTED)
    assert remove_obsolete(TARGET, place.address, {FILE}, set()) == 0
    deliver(place, tmp_path, shard_id(1), 1)
    place.query("drop table predictions")
    assert remove_obsolete(TARGET, place.address, {FILE}, set()) == 1
    assert place.query("select target from millstream_deliveries") == [("rejected",)]


def test_proof_names_the_first_shard_with_other_rows(place: Place, tmp_path: Path) -> None:
    prove_delivery(TARGET, place.address, {})
    for number in (1, 2, 3):
        deliver(place, tmp_path, shard_id(number), number)
    expected = {shard_id(number): number for number in (1, 2, 3)} | {shard_id(4): 0}
    prove_delivery(TARGET, place.address, expected)
    place.query(f"delete from predictions where shard = '{shard_id(3)}' and row = 1")
    place.query(f"insert into predictions (shard, row) values ('{shard_id(2)}', 7)")
    with pytest.raises(ProofError) as caught:
        prove_delivery(TARGET, place.address, expected)
    assert str(caught.value) == (
        f"crm.predictions: has 3 rows of {shard_id(2)}; expected 2, as its record has it: repeat "
        "the run, which delivers the shard again"
    )


def test_proof_of_a_table_that_is_gone_fails(place: Place) -> None:
    with pytest.raises(ProofError, match=r"has 0 rows of .*-00001; expected 1"):
        prove_delivery(TARGET, place.address, {shard_id(1): 1})


def test_shards_that_need_no_delivery_are_found_at_once(place: Place, tmp_path: Path) -> None:
    records = [publish(tmp_path, texts(["a"] * n), shard_id(n)) for n in (1, 2, 3)]

    def found() -> list[str]:
        deliveries = find_delivered(records, TARGET, place.address)
        assert all(delivery.skipped for delivery in deliveries)
        assert all(delivery.rows == int(delivery.shard[-5:]) for delivery in deliveries)
        return sorted(delivery.shard for delivery in deliveries)

    assert found() == []
    for record in records[:2]:
        deliver_alone(record, tmp_path, TARGET, place.address)
    assert found() == [shard_id(1), shard_id(2)]
    assert find_delivered(records, TARGET, place.address, folder="rejected") == ()
    place.query(f"delete from predictions where shard = '{shard_id(1)}'")
    records[1] = publish(tmp_path, texts(["b"] * 2), shard_id(2))
    assert found() == []
