"""Addresses of input files: what a URL, an object, a folder or a pattern on S3 means."""

from collections.abc import Sequence

from tasks.common.errors import DataError
from tasks.common.urls import is_s3, redact_url, url_path
from tasks.download.s3_listing import is_folder, is_pattern, list_objects
from tasks.ingestion.formats import EXPECTED, format_of, unknown_kind


def expand_address(address: str, allow_empty: bool) -> Sequence[str]:
    """Return the addresses of the files that an address means, sorted.

    Args:
        address: An http(s) URL, or an object, a folder or a pattern on S3.
        allow_empty: Whether a folder without a table, or a pattern without a match, is no error.

    Raises:
        ParameterError: If an address on S3 names no bucket.
        DataError: If it brings no file, or names a file of another kind.
        DownloadError: If a folder or pattern cannot be listed.
    """
    found: Sequence[str]
    if is_s3(address) and is_folder(address):
        found = [name for name in list_objects(address) if format_of(name)]
    elif is_s3(address) and is_pattern(address):
        found = _of_known_kind(list_objects(address))
    else:
        return _of_known_kind([address])
    if not found and not allow_empty:
        raise DataError(f"inputs: {redact_url(address)!r} brings no file; expected {EXPECTED}")
    return found


def _of_known_kind(addresses: Sequence[str]) -> Sequence[str]:
    for address in addresses:
        if format_of(url_path(address)) is None:
            folder = "; a folder on S3 ends with /" if is_s3(address) else ""
            raise DataError(f"{redact_url(address)}: {unknown_kind(url_path(address))}{folder}")
    return addresses
