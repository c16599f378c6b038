import errno
import hashlib
import os
import time
import traceback
from pathlib import Path

import pytest

from tasks.common.errors import DataError, ParameterError
from tasks.ingestion.table_reader import survey
from tasks.inputs.input_files import (
    download_input,
    is_gone,
    list_input_files,
    settled_files,
    temporary_downloads,
)
from tests.support.http_server import serving

OUT = Path("/out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four tables, a hidden one, a table in a subfolder, and a file of another kind."""
    folder = tmp_path / "shards"
    (folder / "more").mkdir(parents=True)
    for name in (
        "b.csv",
        "a.CSV",
        "c.jsonl",
        "d.parquet",
        ".hidden.csv",
        "notes.txt",
        "more/e.tsv",
    ):
        (folder / name).touch()
    return folder


def names(*inputs: str | Path) -> list[str]:
    return [shard.path.name for shard in list_input_files([str(text) for text in inputs], OUT)]


# What is found


def test_folder_brings_its_visible_tables_in_order(folder: Path) -> None:
    assert names(folder) == ["a.CSV", "b.csv", "c.jsonl", "d.parquet"]


def test_json_of_a_folder_is_a_table_unless_it_describes_data(folder: Path) -> None:
    contents = {
        "array.json": '\ufeff[\n{"text": "a"}\n]',
        "lines.json": '{"text": "a"}\n{"text": "b"}\n',
        "one.json": '{"text": "a"}\n',
        "empty.json": "",
        "damaged.json.gz": "{\n",
        "dataset_info.json": '\n{\n  "features": {"text": "string"}\n}\n',
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    found = [name for name in names(folder) if ".json" in name and "jsonl" not in name]
    assert found == ["array.json", "damaged.json.gz", "empty.json", "lines.json", "one.json"]
    assert names(folder / "dataset_info.json") == ["dataset_info.json"]


def test_folder_of_texts_alone_asks_for_a_table(tmp_path: Path) -> None:
    (tmp_path / "pos").mkdir()
    (tmp_path / "pos" / "1.txt").touch()
    for folder in (tmp_path, tmp_path / "pos"):
        with pytest.raises(DataError, match=r"; write its \.txt files into one table, a text a r"):
            names(folder)


def test_glob_pattern_brings_what_it_matches(folder: Path) -> None:
    assert names(folder / "*.csv") == ["b.csv"]
    assert names(folder / "[bc].*") == ["b.csv", "c.jsonl"]
    assert names(folder / "**" / "*.tsv") == ["e.tsv"]


def test_files_folders_and_patterns_add_up_and_each_file_counts_once(folder: Path) -> None:
    assert names(folder / "b.csv", folder / "more", folder / "b*", folder / "more/../b.csv") == [
        "b.csv",
        "e.tsv",
    ]


def test_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "[b].csv").touch()
    assert names(folder / "[b].csv") == ["[b].csv"]


def test_relative_paths_and_the_users_home_are_understood(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    assert (
        list_input_files(["b.csv"], OUT)
        == list_input_files(["~/b.csv"], OUT)
        == list_input_files([str(folder / "b.csv")], OUT)
    )


def test_link_to_a_file_that_is_an_input_counts_once(folder: Path) -> None:
    (folder / "link.csv").symlink_to(folder / "b.csv")
    assert names(folder / "link.csv", folder / "b.csv") == ["b.csv"]


def test_link_is_a_file_of_its_own_name(folder: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "3f2a9c"
    blob.parent.mkdir()
    blob.write_text("text\na film\n")
    for name in ("train.csv", "validation.csv"):
        (folder / "more" / name).symlink_to(Path("../../blobs/3f2a9c"))
    table, *linked = list_input_files([str(folder / "more")], OUT)
    assert table.path.name == "e.tsv"
    assert [file.name for file in linked] == [
        str(folder / "more" / name) for name in ("train.csv", "validation.csv")
    ]
    assert [file.id[:6] for file in linked] == ["train-", "valida"]
    assert survey(linked[0].path, {"text"}, ()).rows == 1


def test_link_in_a_folder_that_is_a_link_has_one_id(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(folder)
    assert list_input_files([str(tmp_path / "alias")], OUT) == list_input_files([str(folder)], OUT)


@pytest.mark.parametrize("pattern", ["**", "**/*.*", "out/predictions", "out/*/*.parquet"])
def test_what_runs_wrote_to_the_output_is_no_input(tmp_path: Path, pattern: str) -> None:
    output = tmp_path / "out"
    for name in ("predictions/a.parquet", "rejected/a.parquet", "records/a.json", "manifest.json"):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).touch()
    for path in (tmp_path / "a.csv", output / "b.csv"):
        path.touch()
    found = list_input_files([str(tmp_path / pattern)], output, allow_empty=True)
    assert [file.path.name for file in found] == ["a.csv", "b.csv"] * pattern.startswith("**")


def test_file_whose_time_is_to_come_settles(folder: Path) -> None:
    files = list_input_files([str(folder / "b.csv")], OUT)
    to_come = time.time() + 86_400
    os.utime(folder / "b.csv", (to_come, to_come))
    assert settled_files(files, 60) == ()
    time.sleep(1.1)
    assert settled_files(files, 1) == files


# What is refused


@pytest.mark.parametrize("inputs", [[], [""], ["b.csv", ""]])
def test_no_input_is_refused(inputs: list[str]) -> None:
    with pytest.raises(ParameterError, match="inputs: none given; expected files, folders, glob"):
        list_input_files(inputs, OUT)


@pytest.mark.parametrize("name", ["none.csv", "*.orc", "empty"])
def test_input_without_a_file_is_named(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        list_input_files([str(folder / "b.csv"), str(folder / name)], OUT)
    why = ": there is no such file or folder" if name == "none.csv" else ""
    assert str(raised.value).startswith(
        f"inputs: '{folder / name}' brings no file{why}; expected .csv"
    )


@pytest.mark.parametrize(
    "address",
    [
        " https://me:hunter2@example.org/a.csv?token=hunter2",
        "https:/me:hunter2@example.org/a.csv",
        "s3://key:hunter2@bucket/a.csv",
        "https://me:hunter\uff1a2@example.org/a.txt",
        "https://me:1234/hunter2@example.org/a.txt",
    ],
)
def test_input_that_is_an_address_of_no_file_is_not_quoted(address: str) -> None:
    with pytest.raises((DataError, ParameterError)) as raised:
        list_input_files([address], OUT)
    assert "hunter" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("name", ["notes.txt", "n*"])
def test_named_file_of_another_kind_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(
        DataError, match=f"^{folder}/notes.txt: unknown kind of file '.txt'; expected .csv"
    ):
        list_input_files([str(folder / name)], OUT)


# Ids


def test_ids_are_stable_and_told_apart_by_the_folder(folder: Path) -> None:
    (folder / "more" / "b.csv").touch()
    first, second = list_input_files([str(folder / "b.csv"), str(folder / "more" / "b.csv")], OUT)
    assert first.id != second.id
    assert first.id.startswith("b-")
    assert list_input_files([str(folder)], OUT)[1] == first


def test_id_is_made_of_name_and_path_alone(folder: Path) -> None:
    # Predictions are files of this name: another id would leave two of them beside each other.
    digest = hashlib.sha256(str(folder / "b.csv").encode()).hexdigest()
    assert list_input_files([str(folder / "b.csv")], OUT)[0].id == f"b-{digest[:16]}"


def test_long_names_leave_room_for_what_is_added(tmp_path: Path) -> None:
    one, other = "这" * 83 + "a.csv", "这" * 83 + "b.csv"
    for name in (one, other):
        assert len(os.fsencode(name)) > 250
        (tmp_path / name).touch()
    ids = [shard.id for shard in list_input_files([str(tmp_path)], OUT)]
    assert len(set(ids)) == 2
    assert all(len(os.fsencode(f".{name}.parquet.4194304-00000000.draft")) < 256 for name in ids)


# Addresses


def test_address_is_fetched_anew_each_time_and_shown_without_its_secrets(home: Path) -> None:
    with serving(b"text\na film\n") as server:
        url = f"http://{server.host}/rows.csv.gz?token=secret"
        (first,) = list_input_files([url], OUT)
        download_input(first)
        assert first.path.read_bytes() == b"text\na film\n"
        assert first.name == f"http://{server.host}/rows.csv.gz"
        assert first.id.startswith("rows-")
        assert "secret" not in repr(first)
        server.body = b"text\nanother film\n"
        (second,) = list_input_files([url], OUT)
        download_input(second)
        assert second == first
        assert second.path.read_bytes() == b"text\nanother film\n"


def test_address_has_one_id_whatever_it_holds_and_two_outputs_do_not_share_its_file(
    home: Path,
) -> None:
    (one,) = list_input_files(["http://127.0.0.1:1/rows.csv"], OUT)
    (other,) = list_input_files(["http://127.0.0.1:1/rows.csv"], Path("/other"))
    (third,) = list_input_files(["http://127.0.0.1:1/rows.csv?page=2"], OUT)
    assert one.id == other.id != third.id
    assert one.path != other.path


def test_what_was_downloaded_is_removed_in_the_end(home: Path) -> None:
    with serving(b"text\na film\n") as server, temporary_downloads(OUT):
        (file,) = list_input_files([f"http://{server.host}/rows.csv"], OUT)
        download_input(file)
        assert file.path.is_file()
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("seconds", [0, 60])
def test_link_that_leads_nowhere_is_found_and_not_passed_over(folder: Path, seconds: int) -> None:
    (folder / "z.csv").symlink_to(folder / "missing.csv")
    assert settled_files(list_input_files([str(folder)], OUT), seconds)[-1].path.name == "z.csv"


def test_file_that_cannot_be_looked_for_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_gone(str(tmp_path / "none.csv"))
    assert not is_gone(str(tmp_path))
    assert not is_gone("https://example.org/rows.csv")

    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.ESTALE, "the server is away", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    assert not is_gone(str(tmp_path / "none.csv"))


@pytest.mark.parametrize("name", ["rows.zip", "rows", "rows.csv.bz2"])
def test_address_of_another_kind_of_file_is_refused_before_it_is_asked(
    home: Path, name: str
) -> None:
    url = f"http://127.0.0.1:1/{name}"
    with pytest.raises(DataError, match=f"^{url}: unknown kind of file '.*'; expected .csv"):
        list_input_files([f"{url}?token=secret"], OUT)


# Ids of compressed files


def test_id_leaves_out_what_follows_the_name(folder: Path) -> None:
    for name in ("x.csv", "x.csv.gz", "x.parquet.zst"):
        (folder / name).touch()
    ids = [file.id for file in list_input_files([str(folder / "x.*")], OUT)]
    assert [name[:2] for name in ids] == ["x-"] * 3
    assert len(set(ids)) == 3
