"""Whether online serving may listen where it is told to: beyond this machine with a token alone."""

from tasks.common.errors import ParameterError
from tasks.common.settings import Settings
from tasks.common.urls import is_loopback


def check_serve_token(settings: Settings) -> None:
    """Check that others who reach online serving need a token.

    Raises:
        ParameterError: If they do not.
    """
    if not settings.serve_token.get_secret_value() and not is_loopback(settings.host):
        raise ParameterError(
            f"MILLSTREAM_SERVE_TOKEN: missing, and MILLSTREAM_HOST is {settings.host}, which "
            "others reach; expected a token, a loopback address such as 127.0.0.1, or SERVE=0 of "
            "make up"
        )
