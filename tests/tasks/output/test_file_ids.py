import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from tasks.output.file_ids import FileIds, file_id_of, shards_of_files
from tasks.output.records import ShardRecord, write_record

PLACE, SOURCE = "/in/a.csv", "/in/a.csv"
DIGEST = hashlib.sha256(os.fsencode(PLACE)).hexdigest()
FORMER, NOW = f"a-{DIGEST[:8]}", f"a-{DIGEST[:16]}"

STORED = Path(__file__).parents[2] / "system" / "compatibility" / "output_d319afc" / "records"


def publish(output: Path, file_id: str, source: str, number: int = 1) -> None:
    """Write the record of a shard, and its predictions."""
    record = json.loads(next(iter(sorted(STORED.glob("*.json")))).read_text(encoding="utf-8"))
    shard_id = f"{file_id}-{number:05}"
    record["shard"] |= {"id": shard_id, "file_id": file_id, "source": source}
    write_record(output, ShardRecord.model_validate(record))
    (output / "predictions").mkdir(exist_ok=True)
    (output / "predictions" / f"{shard_id}.parquet").touch()


def id_in(output: Path) -> str:
    return FileIds(output).id_of(PLACE, "a", SOURCE)


def test_a_new_file_has_an_id_of_name_and_place(tmp_path: Path) -> None:
    assert id_in(tmp_path / "missing") == NOW


@pytest.mark.parametrize(
    ("stem", "name"),
    [("_a", "a"), (".a", "a"), ("._a_b", "a_b"), ("_" * 50 + "a", "a"), ("_", "file")],
)
def test_a_reader_of_the_folder_skips_no_file_for_its_name(
    tmp_path: Path, stem: str, name: str
) -> None:
    file_id = FileIds(tmp_path).id_of(PLACE, stem, SOURCE)
    assert file_id == f"{name}-{DIGEST[:16]}"
    (tmp_path / "predictions").mkdir()
    pd.DataFrame({"text": ["a film"]}).to_parquet(
        tmp_path / "predictions" / f"{file_id}-00001.parquet"
    )
    assert len(pd.read_parquet(tmp_path / "predictions")) == 1


@pytest.mark.parametrize("digits", [8, 16, 32])
@pytest.mark.parametrize("stem", ["_a", ".a"])
def test_a_file_goes_on_with_an_id_that_such_readers_skip(
    tmp_path: Path, stem: str, digits: int
) -> None:
    former = f"{stem}-{DIGEST[:digits]}"
    publish(tmp_path, former, SOURCE)
    assert FileIds(tmp_path).has(SOURCE, stem)
    assert FileIds(tmp_path).id_of(PLACE, stem, SOURCE) == former
    assert shards_of_files(tmp_path, {former}) == {f"{former}-00001"}


@pytest.mark.parametrize("file_id", [FORMER, NOW])
def test_a_file_goes_on_with_its_id(tmp_path: Path, file_id: str) -> None:
    publish(tmp_path, file_id, SOURCE)
    assert id_in(tmp_path) == file_id


@pytest.mark.parametrize("file_id", [FORMER, NOW])
def test_a_file_is_known_by_its_shards_until_it_has_its_id(tmp_path: Path, file_id: str) -> None:
    assert not FileIds(tmp_path).has(SOURCE, "a")
    publish(tmp_path, file_id, SOURCE)
    ids = FileIds(tmp_path)
    assert ids.has(SOURCE, "a")
    assert not ids.has("/in/b.csv", "b")
    ids.id_of(PLACE, "a", SOURCE)
    assert not ids.has(SOURCE, "a")


@pytest.mark.parametrize("part", ["records", "predictions"])
def test_what_a_killed_run_left_of_a_former_version_is_gone_on_with(
    tmp_path: Path, part: str
) -> None:
    (tmp_path / part).mkdir()
    (tmp_path / part / f"{FORMER}-00001.json").write_text("damaged")
    assert id_in(tmp_path) == FORMER


def test_an_id_of_another_source_is_left_alone(tmp_path: Path) -> None:
    publish(tmp_path, FORMER, "/in/another-one-with-that-digest/a.csv")
    assert id_in(tmp_path) == NOW
    publish(tmp_path, NOW, "/in/yet-another/a.csv")
    longer = id_in(tmp_path)
    assert longer == f"a-{DIGEST[:32]}"
    publish(tmp_path, longer, SOURCE)
    assert id_in(tmp_path) == longer


def test_one_damaged_record_does_not_hide_whose_the_others_are(tmp_path: Path) -> None:
    publish(tmp_path, NOW, "/in/another/a.csv", number=2)
    (tmp_path / "records" / f"{NOW}-00001.json").write_text("damaged")
    assert id_in(tmp_path) != NOW


def test_two_addresses_that_differ_in_their_secrets_have_two_ids(tmp_path: Path) -> None:
    """Their records name them alike."""
    ids = FileIds(tmp_path)
    urls = ("http://h/a.csv?page=1", "http://h/a.csv?page=2")
    first = ids.id_of(urls[0], "a", "http://h/a.csv")
    assert ids.id_of(urls[1], "a", "http://h/a.csv") != first
    publish(tmp_path, first, "http://h/a.csv")
    assert FileIds(tmp_path).id_of(urls[1], "a", "http://h/a.csv") != first


def test_a_file_whose_folder_moved_goes_on_with_its_id(tmp_path: Path) -> None:
    of_another, its_own = "a-0123456789abcdef", "a-fedcba9876543210"
    publish(tmp_path, of_another, "/elsewhere/a.csv")
    publish(tmp_path, its_own, SOURCE)
    assert id_in(tmp_path) == its_own


def test_no_run_gives_an_id_twice(tmp_path: Path) -> None:
    ids = FileIds(tmp_path)
    assert ids.id_of(PLACE, "a", SOURCE) != ids.id_of(PLACE, "a", SOURCE)


def test_shards_are_found_by_their_files(tmp_path: Path) -> None:
    for number in (1, 2):
        publish(tmp_path, NOW, SOURCE, number)
    publish(tmp_path, FORMER, SOURCE)
    assert shards_of_files(tmp_path, {NOW}) == {f"{NOW}-00001", f"{NOW}-00002"}
    assert file_id_of(f"{NOW}-123456") == NOW
