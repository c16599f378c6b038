"""An object on S3 is downloaded like a file of HTTP: whole, of one version, within bounds."""

import gzip
import hashlib
import logging
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import DownloadError, ParameterError, TransientDownloadError
from tasks.common.settings import get_settings
from tasks.download.file_download import download_file
from tests.support.http_server import FileServer, Reply, serving
from tests.support.s3 import S3, SECRET, use_endpoint
from tests.tasks.download.parts import left_by, part_of

# More than is read at once: what was read in part is not kept.
BODY = random.Random(7).randbytes(300_000)
OTHER = random.Random(8).randbytes(300_000)
CUT = Reply(cut_after=200_000)

ADDRESS = "s3://films/reviews.csv"


@pytest.fixture
def store(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """A server with faults in the place of S3; like some stores, it does not know If-Match."""
    use_endpoint(f"http://{server.host}", monkeypatch)
    server.body = BODY
    return server


def broken(address: str, target: Path, **options: Any) -> str:
    with pytest.raises(TransientDownloadError) as raised:
        download_file(address, target, **options)
    assert not target.exists()
    return str(raised.value)


def refused(address: str, target: Path) -> str:
    """Return why a download failed for good, and check that it left nothing behind."""
    with pytest.raises(DownloadError) as raised:
        download_file(address, target)
    assert type(raised.value) is DownloadError
    assert not target.parent.exists() or left_by(target) == set()
    assert "\n" not in str(raised.value)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    return str(raised.value)


# Whole files


@pytest.mark.parametrize(
    "key",
    [
        "reviews.csv",
        "a folder/été 映画.csv",
        "a+b%20c?d#e;f=g.csv",
        "me@home:secret.csv",
        "/a//b.csv",
    ],
)
def test_object_of_any_key_is_downloaded(s3: S3, target: Path, key: str) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, **{key: BODY})
    digest = hashlib.sha256(BODY).hexdigest()
    assert download_file(f"s3://{bucket}/{key}", target, sha256=digest).read_bytes() == BODY
    assert left_by(target) == {"reviews.csv"}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_object_is_what_its_name_says_whatever_encoding_it_has(
    s3: S3, target: Path, name: str
) -> None:
    bucket, packed = s3.new_bucket(), gzip.compress(BODY)
    s3.client.put_object(Bucket=bucket, Key=name, Body=packed, ContentEncoding="gzip")
    file = download_file(f"s3://{bucket}/{name}", target.with_name(name))
    assert file.read_bytes() == (packed if name.endswith(".gz") else BODY)


@pytest.mark.parametrize("encoding", ["aws-chunked", "gzip,aws-chunked", "aws-chunked, GZIP"])
def test_encoding_of_the_upload_is_none_of_the_object(
    store: FileServer, target: Path, encoding: str
) -> None:
    store.body = gzip.compress(BODY) if "zip" in encoding.lower() else BODY
    store.will(Reply(headers={"Content-Encoding": encoding}))
    assert download_file(ADDRESS, target).read_bytes() == BODY


def test_object_that_is_there_is_not_sent_again_unless_it_changed(s3: S3, target: Path) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, **{"a.csv": BODY})
    download_file(f"s3://{bucket}/a.csv", target)
    inode = target.stat().st_ino
    download_file(f"s3://{bucket}/a.csv", target)
    assert target.stat().st_ino == inode
    s3.put(bucket, **{"a.csv": OTHER})
    assert download_file(f"s3://{bucket}/a.csv", target).read_bytes() == OTHER


# Broken transfers


@pytest.mark.parametrize(
    "reply",
    [CUT, Reply(cut_after=200_000, reset=True), Reply(cut_after=200_000, hang_s=0.6)],
    ids=["short body", "reset", "silence"],
)
def test_broken_transfer_goes_on_where_it_broke(
    store: FileServer, target: Path, reply: Reply
) -> None:
    store.will(reply)
    assert broken(ADDRESS, target, timeout_s=0.3).startswith(f"{ADDRESS}: ")
    kept = part_of(target).stat().st_size
    assert 0 < kept <= 200_000
    assert part_of(target).read_bytes() == BODY[:kept]
    store.body_bytes_sent = 0
    assert download_file(ADDRESS, target).read_bytes() == BODY
    assert store.ranges == [None, f"bytes={kept}-"]
    assert store.requests[1].headers["If-Match"] == '"one"'
    assert store.body_bytes_sent == len(BODY) - kept
    assert left_by(target) == {"reviews.csv"}


@settings(max_examples=10, deadline=None)
@given(
    body=st.integers(0, 300_000).map(random.Random(1).randbytes),
    cuts=st.lists(st.integers(0, 300_000), max_size=4),
)
def test_any_sequence_of_cuts_gives_the_object(body: bytes, cuts: list[int]) -> None:
    with (
        TemporaryDirectory() as folder,
        serving(body) as server,
        pytest.MonkeyPatch.context() as env,
    ):
        use_endpoint(f"http://{server.host}", env)
        server.will(*[Reply(cut_after=cut) for cut in cuts])
        target = Path(folder, "file")
        for _ in range(len(cuts) + 1):
            try:
                download_file(ADDRESS, target)
            except TransientDownloadError:
                assert not target.exists()
                if part_of(target).exists():
                    kept = part_of(target).read_bytes()
                    assert kept == body[: len(kept)]
        assert target.read_bytes() == body


def test_two_versions_are_never_glued_together(store: FileServer, target: Path) -> None:
    store.will(CUT)
    broken(ADDRESS, target)
    store.etag, store.body = '"two"', OTHER
    assert download_file(ADDRESS, target).read_bytes() == OTHER


def test_object_that_changed_is_refused_by_its_etag_and_begun_anew(
    store: FileServer, s3: S3, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, **{"a.csv": OTHER})
    use_endpoint(f"http://{store.host}", monkeypatch)
    store.will(CUT)
    broken(f"s3://{bucket}/a.csv", target)
    use_endpoint(s3.endpoint, monkeypatch)
    assert download_file(f"s3://{bucket}/a.csv", target).read_bytes() == OTHER


def test_object_that_is_the_same_goes_on(
    store: FileServer, s3: S3, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, **{"a.csv": BODY})
    store.etag = s3.client.head_object(Bucket=bucket, Key="a.csv")["ETag"]
    use_endpoint(f"http://{store.host}", monkeypatch)
    store.will(CUT)
    broken(f"s3://{bucket}/a.csv", target)
    kept = bytes(part_of(target).stat().st_size)
    part_of(target).write_bytes(kept)  # by which it shows that these bytes were kept
    use_endpoint(s3.endpoint, monkeypatch)
    file = download_file(f"s3://{bucket}/a.csv", target)
    assert file.read_bytes() == kept + BODY[len(kept) :]


def test_object_with_another_checksum_than_s3_names_is_sent_again(
    store: FileServer, target: Path
) -> None:
    store.will(Reply(headers={"x-amz-checksum-crc32": "AAAAAA=="}))
    message = f"{ADDRESS}: FlexibleChecksumError of http://{store.host}, expected a whole answer"
    assert broken(ADDRESS, target) == message
    assert download_file(ADDRESS, target).read_bytes() == BODY
    assert store.ranges == [None, "bytes=300000-", None]


# What is worth another attempt, and what is not


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_store_is_worth_another_attempt(store: FileServer, target: Path, status: int) -> None:
    store.will(Reply(status=status, headers={"Retry-After": "7"}))
    with pytest.raises(TransientDownloadError) as raised:
        download_file(ADDRESS, target)
    expected = f"{ADDRESS}: HTTP {status} and a wish to wait 7 s, expected 200"
    assert (str(raised.value), raised.value.retry_after_s) == (expected, 7.0)
    assert len(store.requests) == 1  # the task tries again, not boto3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 416])
def test_refusal_is_final(store: FileServer, target: Path, status: int) -> None:
    store.will(Reply(status=status))
    assert refused(ADDRESS, target) == f"{ADDRESS}: HTTP {status}, expected 200"


def test_missing_object_and_bucket_are_told_apart(s3: S3, target: Path) -> None:
    bucket = s3.new_bucket()
    missing = f"s3://{bucket}/a.csv"
    assert refused(missing, target) == f"{missing}: HTTP 404 (NoSuchKey), expected 200"
    missing = "s3://no-such-bucket/a.csv"
    assert refused(missing, target) == f"{missing}: HTTP 404 (NoSuchBucket), expected 200"


def test_store_that_is_away_is_worth_another_attempt(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(BODY) as gone:
        endpoint = gone.host
    use_endpoint(f"http://me:{SECRET}@{endpoint}", monkeypatch)
    told = broken(ADDRESS, target)
    assert told == (
        f"{ADDRESS}: EndpointConnectionError of http://{endpoint}, expected a whole answer"
    )


def without_credentials(env: pytest.MonkeyPatch) -> None:
    env.delenv("AWS_ACCESS_KEY_ID")
    env.delenv("AWS_SECRET_ACCESS_KEY")


def with_half_of_them(env: pytest.MonkeyPatch) -> None:
    env.delenv("AWS_SECRET_ACCESS_KEY")


def with_a_profile_that_is_none(env: pytest.MonkeyPatch) -> None:
    env.setenv("AWS_PROFILE", "nobody")


def with_a_wrong_endpoint(env: pytest.MonkeyPatch) -> None:
    env.setenv("AWS_ENDPOINT_URL_S3", f"me:{SECRET}@store")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_credentials, "Unable to locate credentials; expected settings and credentials"),
        (with_half_of_them, "Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY; "),
        (with_a_profile_that_is_none, "The config profile (nobody) could not be found; expected"),
        (with_a_wrong_endpoint, "boto3 takes its settings for invalid; expected an http(s) URL"),
    ],
)
def test_wrong_setting_of_boto3_is_final(
    store: FileServer,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
    message: str,
) -> None:
    change(monkeypatch)
    assert refused(ADDRESS, target).startswith(f"{ADDRESS}: {message}")
    assert store.requests == []


@pytest.mark.parametrize("address", ["s3://", "s3:///a.csv", "s3://a/a.csv", "s3://b%20/a.csv"])
def test_address_without_a_bucket_is_refused(store: FileServer, target: Path, address: str) -> None:
    with pytest.raises(ParameterError, match="names no bucket; expected s3://bucket/key"):
        download_file(address, target)


@pytest.mark.parametrize("cuts", [0, 1])
def test_object_larger_than_the_limit_is_refused(
    store: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch, cuts: int
) -> None:
    for _ in range(cuts):
        store.will(CUT)
        broken(ADDRESS, target)
    monkeypatch.setenv("MILLSTREAM_DOWNLOAD_LIMIT", "250000")
    get_settings.cache_clear()
    told = refused(ADDRESS, target)
    assert told.endswith("300000 bytes, expected at most 250000; MILLSTREAM_DOWNLOAD_LIMIT sets it")
    monkeypatch.undo()
    get_settings.cache_clear()


def test_no_secret_is_logged(s3: S3, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bucket = s3.new_bucket()
    s3.put(bucket, **{"a.csv": BODY})
    download_file(f"s3://{bucket}/a.csv", target)
    with pytest.raises(DownloadError):
        download_file(f"s3://{bucket}/b.csv", target)
    assert SECRET not in caplog.text
