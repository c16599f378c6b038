import io
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.common.settings import REPOSITORY
from tasks.ingestion import disk_budget
from tasks.ingestion import zip_archive as archive_module
from tasks.ingestion.zip_archive import unpack_archive

FILES = {
    "imdb/train.csv": b"review,sentiment\n" + bytes(range(256)) * 40,
    "imdb/valid.csv": b"review,sentiment\n",
    "imdb/empty.csv": b"",
    "imdb/données/test.csv": "review,sentiment\n很好看的电影,positive\n".encode(),
}


def packed(
    files: dict[str, bytes],
    method: int = zipfile.ZIP_DEFLATED,
    change: Callable[[zipfile.ZipInfo], None] = lambda _entry: None,
) -> bytes:
    """Pack files, after `change` has had its way with each entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            change(entry)
            opened.writestr(entry, content)
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "imdb.zip"
    path.write_bytes(packed(FILES))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "unpacked" / "imdb"


def found_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(archive: Path, folder: Path, **limits: int) -> str:
    """Return the message, having seen that it is one line and that nothing was left."""
    with pytest.raises(DataError) as raised:
        unpack_archive(archive, folder, **limits)
    left = {path.name for path in folder.parent.iterdir()} if folder.parent.exists() else set()
    assert left <= {folder.name + ".lock"}
    message = str(raised.value)
    assert message.startswith(f"{archive}: ")
    assert len(message.splitlines()) == 1
    return message


# What is unpacked


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_unpacked(archive: Path, folder: Path, method: int) -> None:
    archive.write_bytes(packed(FILES, method))
    assert unpack_archive(archive, folder) == folder
    assert found_in(folder) == FILES
    assert {path.name for path in folder.parent.iterdir()} == {"imdb", "imdb.lock"}


def test_folders_are_unpacked(archive: Path, folder: Path) -> None:
    archive.write_bytes(packed({"./": b"", "a/": b"", "a/b/": b"", "./c": b"1"}))
    unpack_archive(archive, folder)
    assert (folder / "a" / "b").is_dir()
    assert found_in(folder) == {"c": b"1"}


def test_empty_archive_is_an_empty_folder(archive: Path, folder: Path) -> None:
    archive.write_bytes(packed({}))
    assert list(unpack_archive(archive, folder).iterdir()) == []


def test_folder_that_is_there_is_used_as_it_is(archive: Path, folder: Path) -> None:
    unpack_archive(archive, folder)
    archive.unlink()
    assert unpack_archive(archive, folder) == folder


def test_mode_of_an_entry_is_not_taken_over(archive: Path, folder: Path) -> None:
    def setuid(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = (stat.S_IFREG | 0o6777) << 16

    archive.write_bytes(packed({"run": b"#!"}, change=setuid))
    unpack_archive(archive, folder)
    assert (folder / "run").stat().st_mode & 0o6111 == 0


# What is refused


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "is absolute"),
        ("//server/share", "is absolute"),
        ("../out.csv", "leaves the folder"),
        ("a/../../out.csv", "leaves the folder"),
        ("a/..", "leaves the folder"),
        ("a/../b.csv", "leaves the folder"),
        ("C:/out.csv", "is absolute"),
        ("c:out.csv", "is absolute"),
        ("a\\..\\out.csv", "has an unusable name"),
        ("..\\out.csv", "has an unusable name"),
        ("a\nb.csv", "has an unusable name"),
    ],
)
def test_entry_with_such_a_name_is_refused(
    archive: Path, folder: Path, name: str, reason: str
) -> None:
    archive.write_bytes(packed({"good.csv": b"1", name: b"2"}))
    message = refusal(archive, folder)
    assert f"{archive}: entry {name!r} {reason}, expected" in message
    assert not (folder.parent / "out.csv").exists()


def test_name_that_goes_on_behind_a_nul_is_refused(archive: Path, folder: Path) -> None:
    archive.write_bytes(packed({"good.csv_..": b"1"}).replace(b"good.csv_..", b"good.csv\0.."))
    assert "entry 'good.csv\\x00..' has an unusable name" in refusal(archive, folder)


def test_entry_without_a_name_is_refused(archive: Path, folder: Path) -> None:
    archive.write_bytes(packed({"": b"1"}))
    assert "entry '' has an unusable name" in refusal(archive, folder)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_link_or_device_is_refused(archive: Path, folder: Path, kind: int) -> None:
    def special(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = (kind | 0o777) << 16

    archive.write_bytes(packed({"a": b"/etc"}, change=special))
    assert "entry 'a' is a link or a device" in refusal(archive, folder)


def test_encrypted_entry_is_refused(archive: Path, folder: Path) -> None:
    raw = bytearray(packed({"a": b"1"}))
    # Bit 0 of the flags, in the local header and in the directory at the end.
    raw[raw.index(b"PK\3\4") + 6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    assert "entry 'a' is encrypted, expected no password" in refusal(archive, folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_method_that_unpacks_unbounded_is_refused(archive: Path, folder: Path, method: int) -> None:
    archive.write_bytes(packed(FILES, method))
    assert f"is packed with method {method}, expected stored" in refusal(archive, folder)


@pytest.mark.parametrize(
    "raw",
    [
        # zipfile warns of writing a name twice, so one is changed afterwards.
        packed({"a.csv": b"1", "b.csv": b"2"}).replace(b"b.csv", b"a.csv"),
        packed({"a.csv": b"1", "./a.csv": b"2"}),
        packed({"a.csv": b"1", "a.csv/": b""}),
    ],
    ids=["same", "dot", "folder"],
)
def test_entry_that_is_there_twice_is_refused(archive: Path, folder: Path, raw: bytes) -> None:
    archive.write_bytes(raw)
    assert "entry 'a.csv' is there twice, expected" in refusal(archive, folder)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_file_that_is_also_a_folder_is_refused(
    archive: Path, folder: Path, names: tuple[str, str]
) -> None:
    archive.write_bytes(packed(dict.fromkeys(names, b"1")))
    assert "cannot be unpacked" in refusal(archive, folder)


# Limits


def test_bomb_is_refused_before_it_goes_off(archive: Path, folder: Path) -> None:
    archive.write_bytes(packed({f"{i}": bytes(1_000_000) for i in range(10)}))
    assert archive.stat().st_size < 20_000
    message = refusal(archive, folder, max_bytes=9_999_999)
    assert message == (
        f"{archive}: unpacks to 10000000 bytes, expected at most 9999999; "
        "MILLSTREAM_UNPACK_LIMIT sets it"
    )
    unpack_archive(archive, folder, max_bytes=10_000_000)


@pytest.mark.usefixtures("home")
def test_archive_that_the_disk_has_no_room_for_is_refused_before_it_is_unpacked(
    archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes(packed({"a": bytes(1_000)}))
    monkeypatch.setattr(disk_budget, "SPARE_BYTES", 2**62)
    message = refusal(archive, folder)
    assert message.startswith(f"{archive}: unpacks to 1000 bytes, expected a disk with room")
    assert not folder.exists()


def lying(entry_bytes: int, claimed: int) -> bytes:
    """A bomb whose headers claim that it is small."""
    real = packed({"bomb": bytes(entry_bytes)})
    return real.replace(entry_bytes.to_bytes(4, "little"), claimed.to_bytes(4, "little"))


def test_bomb_that_lies_about_its_size_is_refused(archive: Path, folder: Path) -> None:
    archive.write_bytes(lying(10_000_000, 10))
    assert "Bad CRC-32" in refusal(archive, folder, max_bytes=1_000)


def test_what_is_written_counts_whatever_the_headers_claim(
    archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # zipfile stops at the size that is claimed; the count must hold without that, too.
    archive.write_bytes(packed({"a": bytes(600), "bomb": bytes(600)}))

    def believe(
        _archive: Path, entries: list[zipfile.ZipInfo], _budget: object, _entries: int
    ) -> dict[Path, zipfile.ZipInfo]:
        return {Path(entry.filename): entry for entry in entries}

    monkeypatch.setattr(archive_module, "_check_entries", believe)
    message = refusal(archive, folder, max_bytes=1_000)
    assert message.startswith(f"{archive}: entry 'bomb' goes past 1000 unpacked bytes in all")


def test_too_many_entries_are_refused(archive: Path, folder: Path) -> None:
    message = refusal(archive, folder, max_entries=3)
    assert message == f"{archive}: 4 entries, expected at most 3"


# Damage


def test_what_is_no_zip_is_refused(archive: Path, folder: Path) -> None:
    archive.write_bytes(b"<html>Not found</html>")
    expected = f"{archive}: File is not a zip file, expected an undamaged zip archive"
    assert refusal(archive, folder) == expected


def test_archive_that_is_missing_is_named(tmp_path: Path, folder: Path) -> None:
    message = refusal(tmp_path / "none.zip", folder)
    assert message.endswith("(No such file or directory)")


def test_folder_that_is_a_file_is_refused(archive: Path, folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(DataError, match=f"{archive}: cannot be unpacked into {folder}"):
        unpack_archive(archive, folder)


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    keep=st.none() | st.integers(0, 10**6),
)
def test_damaged_archive_is_unpacked_or_refused(
    flips: list[tuple[int, int]], keep: int | None
) -> None:
    raw = bytearray(packed({"a/b.csv": b"text,label\n" * 9, "c": b"", "d": b"stored"}))
    for position, value in flips:
        raw[position % len(raw)] = value
    with TemporaryDirectory() as name:
        archive = Path(name, "damaged.zip")
        archive.write_bytes(raw if keep is None else raw[: keep % len(raw)])
        folder = Path(name, "there", "folder")
        message, left = "one line", {"folder", "folder.lock"}
        try:
            unpack_archive(archive, folder, max_bytes=10_000)
        except DataError as error:
            message, left = str(error), {"folder.lock"}
        assert len(message.splitlines()) == 1
        assert {path.name for path in folder.parent.iterdir()} == left
        assert {path.name for path in Path(name).iterdir()} == {"damaged.zip", "there"}


@pytest.mark.filterwarnings("ignore:Duplicate name")  # of names that differ behind a NUL alone
@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["..", ".", "", "a", "b", "C:", "\\", "/"]), max_size=5).map(
            "/".join
        )
        | st.text(st.characters(codec="utf-8"), max_size=9),
        max_size=3,
        unique=True,
    )
)
def test_no_name_leaves_the_folder(names: list[str]) -> None:
    with TemporaryDirectory() as name:
        archive = Path(name, "named.zip")
        archive.write_bytes(packed(dict.fromkeys(names, b"")))
        folder = Path(name, "there", "folder")
        with suppress(DataError):
            unpack_archive(archive, folder)
        assert {path.name for path in Path(name).iterdir()} == {"named.zip", "there"}
        assert {path.name for path in folder.parent.iterdir()} <= {"folder", "folder.lock"}


# Whole or not at all

UNPACK = """
import sys
from pathlib import Path
from tasks.ingestion.zip_archive import unpack_archive
unpack_archive(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def large_archive(tmp_path: Path) -> Path:
    path = tmp_path / "large.zip"
    path.write_bytes(packed({f"{i}.csv": os.urandom(64) * 500 for i in range(1500)}))
    return path


def start_unpack(archive: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", UNPACK, str(archive), str(folder)]
    return subprocess.Popen(command, cwd=REPOSITORY)


def test_killed_process_leaves_nothing_that_matters(large_archive: Path, folder: Path) -> None:
    aside = folder.with_name(".imdb.unpacking")
    with start_unpack(large_archive, folder) as process:
        deadline = time.monotonic() + 60
        while not aside.exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert aside.exists()
    assert not folder.exists()
    unpack_archive(large_archive, folder)
    assert len(found_in(folder)) == 1500
    assert not aside.exists()


def test_two_processes_unpack_into_one_folder(large_archive: Path, folder: Path) -> None:
    with start_unpack(large_archive, folder) as one, start_unpack(large_archive, folder) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0)
    assert len(found_in(folder)) == 1500
