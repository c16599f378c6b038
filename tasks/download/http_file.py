"""A file on a server of HTTP: its responses, and its errors in one line."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from tasks.common.errors import DownloadError, TransientDownloadError
from tasks.common.urls import redact_url
from tasks.download.http_client import check_address, http_client
from tasks.download.responses import Get, Response


@contextmanager
def http_file(url: str, timeout_s: float) -> Iterator[Get]:
    """Open a client of a file's server; yields what requests the file.

    Args:
        url: An http or https URL; messages omit its query.
        timeout_s: Seconds without data after which a request fails.

    Raises:
        ParameterError: `~/.netrc` cannot be read.
        TransientDownloadError: The transfer broke; another attempt may succeed.
        DownloadError: `url` is no http(s) URL, or what it leads to is no plain file.
    """
    with _http_errors(redact_url(url)):
        address = check_address(url)
        with http_client(timeout_s) as client:

            @contextmanager
            def get(headers: Mapping[str, str]) -> Iterator[Response]:
                with client.stream("GET", address, headers=headers) as found:
                    chunks = found.iter_raw()
                    yield Response(redact_url(url), found.status_code, found.headers, chunks)

            yield get


@contextmanager
def _http_errors(shown: str) -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, UnicodeError):
        # Their texts quote the invalid part, which may belong to a password.
        raise DownloadError(f"{shown}: expected a valid http(s) address") from None
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects) as error:
        raise DownloadError(f"{shown}: {error}, expected a plain http(s) file") from error
    except httpx.RequestError as error:
        if "location header" in str(error):  # which is quoted
            raise DownloadError(
                f"{shown}: redirected to what is no URL, expected a plain http(s) file"
            ) from None
        message = f"{shown}: {type(error).__name__} ({error}), expected a whole file"
        broken = "CERTIFICATE_VERIFY_FAILED" not in str(error)
        raise (TransientDownloadError if broken else DownloadError)(message) from error
