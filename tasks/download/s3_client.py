"""Client of S3: credentials, region and endpoint as boto3 finds them, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import httpx

from tasks.common.errors import DownloadError, TransientDownloadError
from tasks.common.urls import redact_url
from tasks.download.responses import Response

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_S = 10.0


@contextmanager
def s3_client(address: str, timeout_s: float) -> Iterator["S3Client"]:
    """Yield a client, and name the address in errors of the block.

    Args:
        address: Of the object, or of several.
        timeout_s: Seconds without data after which a request fails.

    Raises:
        TransientDownloadError: The connection broke; another attempt may succeed.
        DownloadError: There are no credentials, or a setting of boto3 is wrong.
    """
    from botocore import exceptions

    broken = (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        exceptions.FlexibleChecksumError,
    )
    client = _client_for(address, timeout_s)
    try:
        yield client
    except broken as error:
        # The texts of some quote the endpoint, which may have a login in it.
        endpoint = redact_url(client.meta.endpoint_url)
        message = f"{address}: {type(error).__name__} of {endpoint}, expected a whole answer"
        lasting = "CERTIFICATE_VERIFY_FAILED" in str(error)
        raise (DownloadError if lasting else TransientDownloadError)(message) from None
    except exceptions.BotoCoreError as error:
        raise DownloadError(f"{address}: {_described(error)}") from None


def _client_for(address: str, timeout_s: float) -> "S3Client":
    from botocore.exceptions import BotoCoreError

    try:
        return shared_client(timeout_s)
    except BotoCoreError as error:
        raise DownloadError(f"{address}: {_described(error)}") from None
    except ValueError:  # its text quotes the endpoint
        raise DownloadError(
            f"{address}: boto3 takes its settings for invalid; expected an http(s) URL in "
            "AWS_ENDPOINT_URL, if that is set"
        ) from None


def _described(error: Exception) -> str:
    """Return what boto3 says, in one line, such as `Unable to locate credentials`."""
    text = " ".join(str(error).split())
    return f"{text}; expected settings and credentials that boto3 takes, such as AWS_PROFILE"


def refusal(address: str, error: "ClientError") -> Response:
    """Return the response of S3 that boto3 turned into an error.

    Args:
        address: What was asked for.
        error: The error.
    """
    meta, code = error.response["ResponseMetadata"], error.response["Error"].get("Code", "")
    # S3 says so with status 400: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    status = 408 if code == "RequestTimeout" else meta["HTTPStatusCode"]
    # Without a body, the status stands for the code.
    reason = "" if code.isdecimal() else code
    return Response(address, status, httpx.Headers(meta["HTTPHeaders"]), (), reason)


@lru_cache(maxsize=4)
def shared_client(timeout_s: float) -> "S3Client":
    """Return a client for all threads, since making one takes a tenth of a second.

    Only clients may be shared by threads, not sessions:
    https://docs.aws.amazon.com/boto3/latest/guide/clients.html
    """
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=min(timeout_s, _CONNECT_TIMEOUT_S),
        read_timeout=timeout_s,
        # The caller's task tries again.
        retries={"total_max_attempts": 1},
    )
    client: S3Client = Session().client("s3", config=config)
    return client
