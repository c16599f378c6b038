"""An object on S3: its responses, which have the headers and statuses of HTTP."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import httpx

from tasks.common.urls import s3_place
from tasks.download.responses import Get, Response
from tasks.download.s3_client import refusal, s3_client

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

_CHUNK_BYTES = 2**16

# S3 has no If-Range: with If-Match it refuses another version instead of sending all of it.
_CONDITIONS = {"Range": "Range", "If-Range": "IfMatch", "If-None-Match": "IfNoneMatch"}


@contextmanager
def s3_file(address: str, timeout_s: float) -> Iterator[Get]:
    """Open a client of an object's store; yields what requests the object.

    Args:
        address: `s3://bucket/key`.
        timeout_s: Seconds without data after which a request fails.

    Raises:
        ParameterError: The address names no bucket.
        TransientDownloadError: The transfer broke; another attempt may succeed.
        DownloadError: There are no credentials, or a setting of boto3 is wrong.
    """
    bucket, key = s3_place(address)
    with s3_client(address, timeout_s) as client:

        @contextmanager
        def get(headers: Mapping[str, str]) -> Iterator[Response]:
            request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
            for name, argument in _CONDITIONS.items():
                # A date is no ETag.
                if name in headers and (name == "Range" or headers[name].startswith('"')):
                    request[argument] = headers[name]  # type: ignore[literal-required]
            response, body = _ask(client, address, request)
            with closing(body):
                yield response

        yield get


def _ask(
    client: "S3Client", address: str, request: "GetObjectRequestTypeDef"
) -> "tuple[Response, StreamingBody | BytesIO]":
    """Return what S3 answers, and the body of it, which has to be closed."""
    from botocore.exceptions import ClientError

    try:
        found = client.get_object(**request)
    except ClientError as error:
        return refusal(address, error), BytesIO()
    meta, body = found["ResponseMetadata"], found["Body"]
    chunks = iter(partial(body.read, _CHUNK_BYTES), b"")
    return Response(
        address, meta["HTTPStatusCode"], httpx.Headers(meta["HTTPHeaders"]), chunks
    ), body
