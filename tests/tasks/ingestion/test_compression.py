import gzip
import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.common.settings import get_settings
from tasks.ingestion import compression, disk_budget
from tasks.ingestion.compression import open_compressed, open_seekable, read_lines
from tasks.ingestion.formats import Compression

SECRET = b"the-text-of-a-row"
CONTENT = b"".join(b"%d %s\n" % (number, SECRET) for number in range(50_000))


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return compressed


COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "zstd": zstd,
}
COMPRESSIONS: list[Compression] = ["", "gzip", "zstd"]
COMPRESSED: list[Compression] = ["gzip", "zstd"]


def packed(tmp_path: Path, compression: Compression, *parts: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"".join(COMPRESS[compression](part) for part in parts))
    return path


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_content_comes_back_whole_and_by_lines(tmp_path: Path, compression: Compression) -> None:
    path = packed(tmp_path, compression, CONTENT)
    with open_compressed(path, compression) as stream:
        assert stream.read() == CONTENT
    with open_compressed(path, compression) as stream:
        assert list(read_lines(stream, path)) == CONTENT.splitlines(keepends=True)


@pytest.mark.parametrize("compression", COMPRESSED)
def test_members_one_after_another_are_read_as_one(
    tmp_path: Path, compression: Compression
) -> None:
    path = packed(tmp_path, compression, CONTENT, b"", b"next\n")
    with open_compressed(path, compression) as stream:
        assert stream.read() == CONTENT + b"next\n"


@pytest.mark.parametrize("cut", [0, 1, 3, 9, 200, -9, -8, -4, -1])
@pytest.mark.parametrize("compression", COMPRESSED)
def test_truncated_stream_is_an_error_that_names_the_file(
    tmp_path: Path, compression: Compression, cut: int
) -> None:
    path = packed(tmp_path, compression, CONTENT)
    path.write_bytes(path.read_bytes()[:cut])
    with (
        pytest.raises(DataError, match=str(path)) as error,
        open_compressed(path, compression) as stream,
    ):
        stream.read()
    assert SECRET.decode() not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("compression", COMPRESSED)
def test_second_member_that_is_truncated_is_an_error(
    tmp_path: Path, compression: Compression
) -> None:
    path = packed(tmp_path, compression, b"first\n", CONTENT)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=str(path)), open_compressed(path, compression) as stream:
        stream.read()


@pytest.mark.parametrize("damaged", [b"not compressed", b"\0" * 40])
@pytest.mark.parametrize("compression", COMPRESSED)
def test_other_content_is_an_error(
    tmp_path: Path, compression: Compression, damaged: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=str(path)), open_compressed(path, compression) as stream:
        stream.read()


def test_damage_that_a_checksum_tells_is_an_error(tmp_path: Path) -> None:
    # Arrow writes zstd without one.
    noise = os.urandom(100_000).hex().encode()
    path = packed(tmp_path, "gzip", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match=str(path)), open_compressed(path, "gzip") as stream:
        stream.read()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_missing_file_stays_an_error_of_the_system(
    tmp_path: Path, compression: Compression
) -> None:
    with pytest.raises(FileNotFoundError), open_compressed(tmp_path / "none", compression):
        pass


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_other_errors_of_the_body_pass_through(tmp_path: Path, compression: Compression) -> None:
    path = packed(tmp_path, compression, CONTENT)
    with pytest.raises(PermissionError), open_compressed(path, compression):
        raise PermissionError(13, "no")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_any_place_can_be_read(tmp_path: Path, home: Path, compression: Compression) -> None:
    path = packed(tmp_path, compression, CONTENT)
    with open_seekable(path, compression) as file:
        assert file.seek(0, os.SEEK_END) == len(CONTENT)
        file.seek(1_000)
        assert file.read(50) == CONTENT[1_000:1_050]


@pytest.mark.parametrize("compression", COMPRESSED)
def test_decompressed_bytes_lie_under_home_and_leave_nothing(
    tmp_path: Path, home: Path, compression: Compression
) -> None:
    content = os.urandom(2**22)
    path = packed(tmp_path, compression, content)
    home.mkdir()
    with open_seekable(path, compression) as file:
        target = Path(f"/proc/self/fd/{file.fileno()}").readlink()
        assert target.is_relative_to(get_settings().root)
        assert list(home.iterdir()) == []
        assert file.read() == content
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("compression", COMPRESSED)
def test_truncated_file_cannot_be_opened_for_seeking(
    tmp_path: Path, home: Path, compression: Compression
) -> None:
    path = packed(tmp_path, compression, CONTENT)
    path.write_bytes(path.read_bytes()[:-5])
    with (
        pytest.raises(DataError, match=str(path)),
        open_seekable(path, compression),
    ):
        pass
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("compression", COMPRESSED)
def test_content_past_the_limit_is_not_unpacked(
    tmp_path: Path, home: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path, compression, CONTENT)
    monkeypatch.setenv("MILLSTREAM_UNPACK_LIMIT", str(len(CONTENT)))
    get_settings.cache_clear()
    with open_seekable(path, compression) as file:
        assert file.read() == CONTENT
    monkeypatch.setenv("MILLSTREAM_UNPACK_LIMIT", str(len(CONTENT) - 1))
    get_settings.cache_clear()
    with (
        pytest.raises(DataError, match=f"^{path}: unpacks to .*MILLSTREAM_UNPACK_LIMIT sets it"),
        open_seekable(path, compression),
    ):
        pass
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("compression", COMPRESSED)
def test_content_is_not_unpacked_onto_a_disk_without_room(
    tmp_path: Path, home: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path, compression, CONTENT)
    monkeypatch.setattr(disk_budget, "SPARE_BYTES", 2**62)
    with (
        pytest.raises(DataError, match=f"^{path}: unpacks to .* expected a disk with room for"),
        open_seekable(path, compression),
    ):
        pass
    assert list(home.iterdir()) == []


def test_byte_order_mark_is_dropped_at_the_start_alone() -> None:
    mark = "\ufeff".encode()
    stream = io.BytesIO(mark + b"a\n" + mark + b"b\n" + mark)
    assert list(read_lines(stream, Path("x"))) == [b"a\n", mark + b"b\n", mark]


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", "\u2028".encode(), b"\x0b"])),
    st.integers(1, 4),
)
def test_lines_end_at_line_feeds_and_carriage_returns(parts: list[bytes], block: int) -> None:
    content = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_BUFFER_BYTES", block)
        lines = list(read_lines(io.BytesIO(content), Path("x")))
    assert lines == re.findall(rb"[^\r\n]*(?:\r*\n|\r)|[^\r\n]+", content)
    assert b"".join(lines) == content


def test_a_hundred_thousand_carriage_returns_are_read_in_linear_time() -> None:
    content = b"\r" * 100_000 + b"\n" + b"\r" * 100_000
    assert b"".join(read_lines(io.BytesIO(content), Path("x"))) == content


def test_line_that_would_fill_the_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_LINE_BYTES", 10)
    assert list(read_lines(io.BytesIO(b"a\n" + b"b" * 9 + b"\n"), Path("x"))) == [
        b"a\n",
        b"b" * 9 + b"\n",
    ]
    with pytest.raises(DataError, match="x: line 2 is longer than 10 bytes"):
        list(read_lines(io.BytesIO(b"a\n" + b"b" * 10 + b"\n"), Path("x")))
