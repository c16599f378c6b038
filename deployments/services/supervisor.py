"""The process manager: supervisord, which runs the services, restarts them and keeps their logs.

https://supervisord.org; one a state folder, reached through a socket that its user alone may open.
"""

import configparser
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from deployments.services.definitions import WORKER, Place, Service
from deployments.services.processes import MARK, mark_of
from tasks.common.environment import environment_with
from tasks.common.errors import MillstreamError, ParameterError
from tasks.common.files import published_file
from tasks.common.settings import REPOSITORY, Settings

_LONGEST_SOCKET = 107  # bytes; what the kernel's sockaddr_un holds
_LOG_BYTES = 10 * 2**20
_LOGS_KEPT = 3
_STOP_S = 40  # a worker waits for its runs to end
_PAUSE_S = 0.1
_SERVICES = "millstream:services"
_PREFECT = "millstream:prefect"


@dataclass(frozen=True)
class ProcessState:
    """What the process manager says of a service.

    Attributes:
        name: The service.
        state: RUNNING, STARTING, BACKOFF, FATAL, STOPPED and others of supervisord's.
        process: Its process id, or 0.
        since: When it started, in seconds since 1970.
    """

    name: str
    state: str
    process: int
    since: int


class Supervisor:
    """The process manager of a state folder, whether it runs or not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.services
        self.logs = settings.root / "logs"
        self._socket = settings.manager_socket
        self._process_file = self.folder / "supervisord.pid"
        self._configuration_file = self.folder / "supervisord.conf"

    @property
    def condition(self) -> Literal["up", "ending", "down"]:
        """Whether it works, ends its services before it ends itself, or is not there."""
        try:
            self._ask("getState")
        except Fault as fault:
            if fault.faultCode != Faults.SHUTDOWN_STATE:
                raise
            return "ending"
        except OSError:
            return "down"
        return "up"

    @property
    def places(self) -> tuple[Place, ...]:
        """The services that it was started with."""
        return tuple(Place(*item) for item in self._started.items(_SERVICES))

    @property
    def api(self) -> str:
        """The address of Prefect's API that it was started with."""
        return self._started[_PREFECT]["api"]

    @property
    def _started(self) -> configparser.RawConfigParser:
        configuration = configparser.RawConfigParser()
        configuration.read(self._configuration_file)
        return configuration

    def log_of(self, service: str) -> Path:
        """Return where a service's output goes."""
        return self.logs / f"{service}.log"

    def start(self, services: Sequence[Service], api: str) -> None:
        """Start it in the background, and with it the servers.

        Args:
            services: All that it is to run.
            api: Address of Prefect's API.

        Raises:
            ParameterError: If the state folder's path is too long for a socket in it.
            MillstreamError: If it does not start.
        """
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET:
            raise ParameterError(
                f"MILLSTREAM_HOME: {self._settings.root} is too long for a socket in it; "
                f"expected {_LONGEST_SOCKET} bytes for {self._socket}"
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o700)
        with published_file(self._configuration_file) as draft, draft.open("w") as file:
            self._configuration(services, api).write(file)
        started = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", self._configuration_file],
            cwd=REPOSITORY,
            # Whatever starts again later takes the same server, whoever listens where by then.
            env=environment_with(
                {MARK: mark_of(self._settings, "supervisor"), "PREFECT_API_URL": api}
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + _STOP_S
        while started.returncode == 0 and self.condition != "up" and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        if self.condition != "up":
            reason = " ".join((started.stdout + started.stderr).split())
            raise MillstreamError(f"supervisord: did not start ({reason}); expected it to answer")

    def start_service(self, name: str) -> None:
        """Start a service, if it does not run."""
        try:
            self._call("startProcess", name, False)
        except Fault as fault:
            if not fault.faultString.startswith("ALREADY_STARTED"):
                raise MillstreamError(f"{name}: cannot be started ({fault.faultString})") from fault

    def states(self) -> tuple[ProcessState, ...]:
        """Return the state of each service."""
        return tuple(
            ProcessState(found["name"], found["statename"], found["pid"], found["start"])
            for found in self._call("getAllProcessInfo")
        )

    def state_of(self, name: str) -> ProcessState:
        """Return the state of the service `name`."""
        return next(state for state in self.states() if state.name == name)

    def stop(self) -> None:
        """End the services, the last started first, and the process manager; wait for its end.

        If it does not run, nothing happens; if it is ending already, that is waited for.
        """
        self._settings.api_url_file.unlink(missing_ok=True)
        process = self._process()
        if process is None:
            return
        if self.condition == "up":
            self._call("shutdown")
        # Its services have as long as their configuration says, one after the other.
        with suppress(psutil.TimeoutExpired):
            process.wait(timeout=_STOP_S * (len(self.places) + 1))

    def _process(self) -> psutil.Process | None:
        """Return its process; another one may have the number that a killed one left."""
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self._process_file.read_text(encoding="utf-8")))
            if process.environ().get(MARK) == mark_of(self._settings, "supervisor"):
                return process
        return None

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            return self._ask(method, *arguments)
        except OSError as error:
            raise MillstreamError(
                f"supervisord: does not answer ({error}); see {self.log_of('supervisor')}"
            ) from error
        except Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                raise MillstreamError(
                    "supervisord: is ending, as after make down; expected it to go on"
                ) from fault
            raise

    def _ask(self, method: str, *arguments: object) -> Any:
        # A proxy holds one connection, which a restart of the other side would break.
        transport: Any = SupervisorTransport(None, None, f"unix://{self._socket}")
        with closing(transport):
            proxy: Any = ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)

    def _configuration(self, services: Sequence[Service], api: str) -> configparser.RawConfigParser:
        configuration = configparser.RawConfigParser()
        configuration["supervisord"] = {
            "logfile": _literal(self.log_of("supervisor")),
            "logfile_maxbytes": str(_LOG_BYTES),
            "logfile_backups": str(_LOGS_KEPT),
            "pidfile": _literal(self._process_file),
            "childlogdir": _literal(self.logs),
            "umask": f"{_umask():03o}",
        }
        configuration["unix_http_server"] = {"file": _literal(self._socket), "chmod": "0700"}
        configuration["rpcinterface:supervisor"] = {
            "supervisor.rpcinterface_factory": ("supervisor.rpcinterface:make_main_rpcinterface")
        }
        # It reads no sections of these names.
        configuration[_SERVICES] = {service.name: service.address for service in services}
        configuration[_PREFECT] = {"api": api}
        for place, service in enumerate(services, start=1):
            configuration[f"program:{service.name}"] = self._program(service, place)
        return configuration

    def _program(self, service: Service, place: int) -> dict[str, str]:
        return {
            "command": f'"{_literal(Path(sys.executable))}" -m deployments.launch {service.name}',
            "directory": _literal(REPOSITORY),
            "priority": str(place),
            # Its pool has to be there before it.
            "autostart": str(service.name != WORKER).lower(),
            "autorestart": "true",
            "startsecs": "3",
            "startretries": "5",
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": str(_STOP_S),
            "redirect_stderr": "true",
            # Expanded twice: https://github.com/Supervisor/supervisor/blob/4.3.0/supervisor/options.py#L976
            "stdout_logfile": _literal(_literal(self.log_of(service.name))),
            "stdout_logfile_maxbytes": str(_LOG_BYTES),
            "stdout_logfile_backups": str(_LOGS_KEPT),
        }


def _umask() -> int:
    """Return what this process was started with; supervisord would set one of its own."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def _literal(path: Path | str) -> str:
    """Return a path for supervisord, which expands what follows a percent sign."""
    return str(path).replace("%", "%%")
