"""`python -m deployments.serve`: answer requests with a registered version, until Ctrl-C."""

import logging
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from deployments.services.exposure import check_serve_token
from flows.parameters import described, record_from
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import about
from tasks.common.settings import Settings, get_settings
from tasks.output.traffic_split import SplitChoice, SplitKey
from tasks.recording.types import RecordFolder, RecordFraction, RecordSeconds, RecordText
from tasks.serving.types import (
    DeadlineSeconds,
    MaxMib,
    MaxTexts,
    PollSeconds,
    Processes,
    ServedUri,
    ServingOptions,
    Shadow,
)
from tasks.shadow.types import ShadowFraction
from tasks.tracking.location import check_location
from tasks.tracking.names import parse_pipeline_reference

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger("millstream.serving")

OPTIONS = ServingOptions()

ServePort = Annotated[
    int | None, about("Port to listen on; none takes SERVE_PORT."), Field(ge=1, le=65_535)
]

# Connections that wait until a process takes them.
_BACKLOG = 2_048
# What was taken is answered within its deadline; this is for sending it.
_SENDING_SECONDS = 2
# A process that does not answer the one that started it is replaced; so late is a killed one too:
# uvicorn waits on a pipe whose other end it holds itself.
_HEALTH_SECONDS = 10


@described
def serve(
    model_uri: ServedUri = OPTIONS.model_uri,
    port: ServePort = None,
    workers: Processes = 1,
    split: SplitChoice = OPTIONS.split,
    split_key: SplitKey = OPTIONS.split_key,
    deadline_seconds: DeadlineSeconds = OPTIONS.deadline_seconds,
    max_texts: MaxTexts = OPTIONS.max_texts,
    max_mib: MaxMib = OPTIONS.max_mib,
    poll_seconds: PollSeconds = OPTIONS.poll_seconds,
    record: RecordFolder = OPTIONS.record,
    record_fraction: RecordFraction = OPTIONS.record_fraction,
    record_text: RecordText = OPTIONS.record_text,
    record_seconds: RecordSeconds = OPTIONS.record_seconds,
    shadow: Shadow = OPTIONS.shadow,
    shadow_fraction: ShadowFraction = OPTIONS.shadow_fraction,
) -> None:
    """Answer requests with a version of the inference pipeline, until Ctrl-C.

    It listens on MILLSTREAM_HOST. Beyond this machine it needs MILLSTREAM_SERVE_TOKEN.
    """
    given = locals()
    options, settings = record_from(ServingOptions, given), get_settings()
    token = settings.serve_token.get_secret_value()
    check_serve_token(settings)
    check_location(settings)
    _check_numbers(options)
    if options.record:
        # Imported here: it is heavy, and `--help` needs none of it.
        from tasks.recording.recorder import resolve_record_folder

        resolve_record_folder(Path(options.record))
    listener = _listen(settings, port or settings.serve_port)
    run_server(options, listener, token=token, workers=workers)


def run_server(
    options: ServingOptions, listener: socket.socket, *, token: str, workers: int
) -> None:
    """Answer requests until a signal ends the process.

    Args:
        options: How they are answered.
        listener: What they come from.
        token: What they have to send; empty lets everybody in.
        workers: Processes.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from tasks.serving.processes import JsonHttpProtocol, log_to_terminal, metrics_folder

    log_to_terminal()
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logger.info("%s/docs has requests to try, and /health says what answers", address)
    with metrics_folder(workers) as folder:
        config = uvicorn.Config(
            # Each process makes its own; a name of it would carry no options.
            partial(_make_application, options, token, folder, workers),
            factory=True,
            workers=workers,
            loop="uvloop",
            http=JsonHttpProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_worker_healthcheck=_HEALTH_SECONDS,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=round(options.deadline_seconds) + _SENDING_SECONDS,
        )
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            Multiprocess(config, sockets=[listener]).run()


def _make_application(
    options: ServingOptions, token: str, folder: Path | None, workers: int
) -> "ASGIApp":
    """Return the application of a process; without a token, pages of other sites are refused."""
    from starlette.responses import JSONResponse

    from flows.server.same_origin import SameOriginMiddleware
    from tasks.serving.processes import make_application

    application: ASGIApp = make_application(options, token, folder, workers)
    if token:  # no page of another site has it
        return application
    return SameOriginMiddleware(
        application,
        bound=get_settings().host,
        advice="expected the address that it listens on, or MILLSTREAM_SERVE_TOKEN",
        refuse=lambda reason: JSONResponse({"error": reason}, 403),
    )


def _check_numbers(options: ServingOptions) -> None:
    """Check that versions that are named by a number are there: no alias will ever be one of them.

    Raises:
        ModelError: If one is a plain pipeline.
        ParameterError: If one is missing.
    """
    from tasks.tracking.registry import resolve_pipeline

    references = {"model_uri": options.model_uri, "shadow": options.shadow}
    if (asked := options.asked_split) is not None:
        references["split"] = asked.reference
    for parameter, reference in references.items():
        if reference and parse_pipeline_reference(reference)[1].isdecimal():
            resolve_pipeline(reference, parameter=parameter)


def _listen(settings: Settings, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ParameterError: If the address cannot be listened on.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise ParameterError(
            f"SERVE_PORT: {settings.host}:{port} cannot be listened on ({error.strerror}); "
            "expected a port that is free, as in --port 8001"
        ) from error
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(serve)
