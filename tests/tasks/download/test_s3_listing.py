"""A folder or pattern on S3 means what it means on disk."""

import glob
from pathlib import Path

import pytest

from tasks.common.errors import DownloadError, TransientDownloadError
from tasks.download.s3_listing import list_objects
from tests.support.http_server import FileServer, Reply
from tests.support.s3 import PAGE, S3, use_endpoint

KEYS = (
    "top.csv",
    "in/a.csv",
    "in/b c.csv",
    "in/été.csv",
    "in/a.txt",
    "in/.hidden.csv",
    "in/.git/x.csv",
    "in/more/c.csv",
    "in/more/deep/d.csv",
    "in/[x].csv",
    "in/x.csv",
    "inner/e.csv",
    "other/[in]/f.csv",
)
PATTERNS = (
    "in/*",
    "in/*.csv",
    "in/?.csv",
    "in/[ab]*",
    "in/[!a].csv",
    "in/.*",
    "in/.*/*",
    "in*/*.csv",
    "*/*.csv",
    "*",
    "**",
    "in/**",
    "in/**/*.csv",
    "**/*.csv",
    "in/**/d*",
    "**/deep/*",
    "none*",
    "in/more*",
)


@pytest.fixture(scope="module")
def _bucket(_s3_server: S3) -> str:
    bucket = _s3_server.new_bucket()
    _s3_server.put(bucket, **dict.fromkeys(KEYS, b""))
    _s3_server.put(bucket, **{"in/": b"", "in/empty/": b""})  # as consoles make folders
    return bucket


@pytest.fixture
def bucket(s3: S3, _bucket: str) -> str:
    return _bucket


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The same on disk."""
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    (tmp_path / "in/empty").mkdir()
    return tmp_path


def keys_of(address: str) -> list[str]:
    return [found.split("/", 3)[3] for found in list_objects(address)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_brings_what_it_brings_on_disk(bucket: str, disk: Path, pattern: str) -> None:
    found = glob.glob(pattern, root_dir=disk, recursive=True)  # noqa: PTH207 -- as for inputs
    files = {path for path in found if (disk / path).is_file()}
    assert keys_of(f"s3://{bucket}/{pattern}") == sorted(files)


@pytest.mark.parametrize("folder", ["", "in", "in/more", "other/[in]", "in/empty", "none"])
def test_folder_brings_its_visible_objects(bucket: str, disk: Path, folder: str) -> None:
    path = disk / folder
    files = sorted(f.name for f in path.glob("[!.]*") if f.is_file()) if path.exists() else []
    slash = "/" if folder else ""
    assert keys_of(f"s3://{bucket}/{folder}{slash}") == [f"{folder}{slash}{name}" for name in files]


def test_bucket_alone_is_a_folder(bucket: str) -> None:
    assert list_objects(f"s3://{bucket}") == (f"s3://{bucket}/top.csv",)


def test_object_whose_key_looks_like_a_pattern_is_that_object(bucket: str) -> None:
    assert keys_of(f"s3://{bucket}/in/[x].csv") == ["in/[x].csv"]


def test_more_objects_than_a_page_has_are_listed(s3: S3, bucket: str) -> None:
    assert s3.client.list_objects_v2(Bucket=bucket)["IsTruncated"]
    assert len(KEYS) > PAGE
    assert len(list_objects(f"s3://{bucket}/**")) == len(KEYS) - 2  # the hidden ones


def test_listing_that_fails_is_named(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint(f"http://{server.host}", monkeypatch)
    server.will(Reply(status=403), Reply(status=503))
    with pytest.raises(DownloadError, match=r"^s3://films/in/: HTTP 403, expected 200$") as raised:
        list_objects("s3://films/in/")
    assert type(raised.value) is DownloadError
    with pytest.raises(TransientDownloadError, match=r"^s3://films/\*: HTTP 503, expected 200$"):
        list_objects("s3://films/*")


def test_missing_bucket_is_named(s3: S3) -> None:
    with pytest.raises(DownloadError, match=r"^s3://no-such-bucket/: HTTP 404 \(NoSuchBucket\)"):
        list_objects("s3://no-such-bucket/")
