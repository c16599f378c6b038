"""Objects on S3 that an address means: those of a folder, or those that match a pattern."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tasks.common.urls import s3_place
from tasks.download.responses import check_response
from tasks.download.s3_client import refusal, s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListObjectsV2RequestPaginateTypeDef

_TIMEOUT_S = 60.0  # without data
_MAGIC = re.compile(r"[*?[]")  # as in the standard library's module glob


def is_folder(address: str) -> bool:
    """Return whether an address on S3 names a folder: by a slash at its end, or a bucket alone.

    Raises:
        ParameterError: It names no bucket.
    """
    _, key = s3_place(address)
    return not key or key.endswith("/")


def is_pattern(address: str) -> bool:
    """Return whether an address on S3 is a glob pattern.

    Raises:
        ParameterError: It names no bucket.
    """
    _, key = s3_place(address)
    return not is_folder(address) and _MAGIC.search(key) is not None


def list_objects(address: str) -> tuple[str, ...]:
    """Return the addresses of the objects of a folder, or that match a pattern, sorted.

    As on disk, a folder has neither hidden objects nor those of folders in it, `*` and `?` match
    within a name, but no dot at its start, and `**` matches any folders. If there is an object
    whose key looks like the pattern, it is the only one.

    Args:
        address: `s3://bucket/folder/` or a pattern such as `s3://bucket/folder/part-*.csv`.

    Raises:
        ParameterError: It names no bucket.
        TransientDownloadError: The listing broke; another attempt may succeed.
        DownloadError: S3 refuses it, or there are no credentials.
    """
    bucket, key = s3_place(address)
    prefix = key if is_folder(address) else _MAGIC.split(key)[0]
    base = prefix[: prefix.rfind("/") + 1]
    pattern = (key[len(base) :] or "*").split("/")
    is_deep = len(pattern) > 1 or pattern == ["**"]
    request: ListObjectsV2RequestPaginateTypeDef = {"Bucket": bucket, "Prefix": prefix}
    keys = set(_list_keys(address, request if is_deep else {**request, "Delimiter": "/"}))
    if key in keys and not is_folder(address):
        keys = {key}
    else:
        keys = {found for found in keys if _matches(found[len(base) :].split("/"), pattern)}
    return tuple(f"s3://{bucket}/{found}" for found in sorted(keys))


def _list_keys(address: str, request: "ListObjectsV2RequestPaginateTypeDef") -> Iterator[str]:
    from botocore.exceptions import ClientError

    with s3_client(address, _TIMEOUT_S) as client:
        try:
            for page in client.get_paginator("list_objects_v2").paginate(**request):
                yield from (found["Key"] for found in page.get("Contents", ()))
        except ClientError as error:
            check_response(refusal(address, error), 200)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the names of folders and of an object match those of a pattern."""
    if not pattern or not names:
        return not pattern and not names
    first, *rest = pattern
    if first != "**":
        return _is_like(names[0], first) and _matches(names[1:], rest)
    # No folder, or one and perhaps more.
    deeper = _is_like(names[0], "*") and _matches(names[1:], pattern)
    return _matches(names, rest or ["*"]) or deeper


def _is_like(name: str, pattern: str) -> bool:
    is_hidden = name.startswith(".") and not pattern.startswith(".")
    return bool(name) and not is_hidden and fnmatchcase(name, pattern)
