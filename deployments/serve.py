"""`python -m deployments.serve`: answer requests with a registered version, until Ctrl-C."""

import socket
from functools import partial
from pathlib import Path
from typing import Annotated

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

OPTIONS = ServingOptions()

ServePort = Annotated[
    int | None, about("Port to listen on; none takes SERVE_PORT."), Field(ge=1, le=65_535)
]

# Connections that wait until a process takes them.
_BACKLOG = 2_048
# What was taken is answered within its deadline; this is for sending it.
_SENDING_SECONDS = 2
# A process that does not answer the one that started it is replaced.
_HEALTH_SECONDS = 30


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

    from tasks.serving.processes import make_application, metrics_folder

    with metrics_folder(workers) as folder:
        config = uvicorn.Config(
            # Each process makes its own; a name of it would carry no options.
            partial(make_application, options, token, folder, workers),
            factory=True,
            workers=workers,
            loop="uvloop",
            http="httptools",
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
