"""Objects, folders and patterns on S3 as inputs."""

from pathlib import Path

import pytest

from tasks.common.errors import DataError, DownloadError, ParameterError
from tasks.inputs.input_files import (
    download_input,
    is_gone,
    list_input_files,
    settled_files,
    temporary_downloads,
)
from tasks.inputs.types import InputFile
from tests.support.s3 import S3

OUT = Path("/out")
ROWS = b"text\na film\n"

pytestmark = pytest.mark.usefixtures("home")


def listed(*inputs: str, allow_empty: bool = False) -> tuple[InputFile, ...]:
    return list_input_files(inputs, OUT, allow_empty=allow_empty)


def names(*inputs: str) -> list[str]:
    return [file.name for file in listed(*inputs)]


@pytest.fixture
def bucket(s3: S3) -> str:
    bucket = s3.new_bucket()
    keys = ("in/b.csv.gz", "in/a.csv", "in/.hidden.csv", "in/notes.txt", "in/more/c.csv", "a.csv")
    s3.put(bucket, **dict.fromkeys(keys, ROWS))
    return bucket


def test_folder_brings_its_visible_tables_in_order(bucket: str) -> None:
    folder = f"s3://{bucket}/in"
    assert names(f"{folder}/") == [f"{folder}/a.csv", f"{folder}/b.csv.gz"]


def test_inputs_of_each_kind_add_up_and_each_object_counts_once(
    bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "z.csv").touch()
    place = f"s3://{bucket}"
    found = names(f"{place}/in/*.csv", f"{place}/in/", f"{place}/in/a.csv", str(tmp_path))
    assert found == [f"{tmp_path}/z.csv", f"{place}/in/a.csv", f"{place}/in/b.csv.gz"]


def test_object_is_downloaded_and_removed_in_the_end(bucket: str, home: Path) -> None:
    with temporary_downloads(OUT):
        (file,) = listed(f"s3://{bucket}/in/a.csv")
        assert file.path.name == "a.csv"
        download_input(file)
        assert file.path.read_bytes() == ROWS
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_object_is_fetched_anew_each_time(s3: S3, bucket: str) -> None:
    address = f"s3://{bucket}/in/a.csv"
    (first,) = listed(address)
    download_input(first)
    s3.put(bucket, **{"in/a.csv": ROWS * 2})
    (second,) = listed(address)
    assert second == first
    download_input(second)
    assert second.path.read_bytes() == ROWS * 2


def test_same_key_in_two_buckets_and_two_keys_of_one_name_have_ids_of_their_own(
    s3: S3, bucket: str
) -> None:
    files = listed(f"s3://{bucket}/a.csv", f"s3://{bucket}/in/a.csv", "s3://others/a.csv")
    assert len({file.id for file in files}) == len({file.path for file in files}) == 3
    assert all(file.id.startswith("a-") for file in files)
    assert listed("s3://others/a.csv") == files[2:]


def test_key_of_any_characters_is_a_file_of_its_own(s3: S3) -> None:
    bucket = s3.new_bucket()
    keys = ("a b.csv", "été 映画.csv", "a?b=c.csv", "a#b.csv", "me@home.csv", "a;b.csv")
    s3.put(bucket, **{key: key.encode() for key in keys})
    files = listed(f"s3://{bucket}/")
    assert [file.name for file in files] == sorted(f"s3://{bucket}/{key}" for key in keys)
    assert len({file.id for file in files}) == len(keys)
    for file in files:
        download_input(file)
        assert f"s3://{bucket}/{file.path.read_text()}" == file.name


def test_long_key_is_a_file_of_a_shorter_name(s3: S3) -> None:
    bucket, key = s3.new_bucket(), "映" * 300 + ".csv"
    s3.put(bucket, **{key: ROWS})
    (file,) = listed(f"s3://{bucket}/{key}")
    download_input(file)
    assert file.path.read_bytes() == ROWS


@pytest.mark.parametrize("key", ["none/", "*.orc", "in/more/d*"])
def test_folder_or_pattern_without_a_table_is_named_unless_it_may_be_empty(
    bucket: str, key: str
) -> None:
    address = f"s3://{bucket}/{key}"
    with pytest.raises(DataError) as raised:
        listed(address)
    assert str(raised.value).startswith(f"inputs: '{address}' brings no file; expected .csv")
    assert listed(address, allow_empty=True) == ()


@pytest.mark.parametrize("key", ["in/notes.txt", "in/n*", "in"])
def test_named_object_of_another_kind_is_refused(bucket: str, key: str) -> None:
    address = f"s3://{bucket}/{key}".replace("n*", "notes.txt")
    with pytest.raises(DataError, match=f"^{address}: unknown kind of file '.*; a folder on S3"):
        listed(f"s3://{bucket}/{key}")


def test_address_without_a_bucket_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match=r"^inputs: s3:///a\.csv: names no bucket; expected"):
        listed("s3:///a.csv")


def test_bucket_that_is_missing_is_named(s3: S3) -> None:
    with pytest.raises(DownloadError, match=r"^s3://none-such/in/: HTTP 404 \(NoSuchBucket\)"):
        listed("s3://none-such/in/", allow_empty=True)


def test_object_counts_as_settled_and_as_there(bucket: str) -> None:
    files = listed(f"s3://{bucket}/in/")
    assert settled_files(files, 3_600) == files
    assert not is_gone(files[0].name)
