"""The process manager: supervisord starts, restarts and stops the services, and rotates logs.

One a state folder, with a Unix socket for its user alone: https://supervisord.org
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

from deployments.services.definitions import WORKER, Service, ServiceAddress
from deployments.services.processes import MARK, mark_of
from tasks.common.environment import environment_with
from tasks.common.errors import MillstreamError, ParameterError
from tasks.common.files import published_file
from tasks.common.settings import REPOSITORY, Settings

# Bytes in the kernel's sockaddr_un, without the process id that supervisord appends at its start.
_MAX_SOCKET_PATH = 107 - len(".4194304")
_LOG_BYTES = 10 * 2**20
_LOG_BACKUPS = 3
_STOP_TIMEOUT_S = 40  # a worker waits for its runs to end
_POLL_INTERVAL_S = 0.1
_SERVICES_SECTION = "millstream:services"
_PREFECT_SECTION = "millstream:prefect"


@dataclass(frozen=True)
class ProcessState:
    """The state of a service's process.

    Attributes:
        name: The service.
        state: RUNNING, STARTING, BACKOFF, FATAL, STOPPED or another state of supervisord.
        process: Process id, or 0.
        since: Start time in seconds since 1970.
    """

    name: str
    state: str
    process: int
    since: int


class Supervisor:
    """The process manager of a state folder, running or not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.services
        self.logs = settings.root / "logs"
        self._socket = settings.manager_socket
        self._pid_file = self.folder / "supervisord.pid"
        self._config_file = self.folder / "supervisord.conf"

    @property
    def state(self) -> Literal["up", "ending", "down"]:
        """Whether it runs, is shutting down, or does not run."""
        try:
            self._call_rpc("getState")
        except Fault as fault:
            if fault.faultCode != Faults.SHUTDOWN_STATE:
                raise
            return "ending"
        except OSError:
            return "down"
        return "up"

    @property
    def addresses(self) -> tuple[ServiceAddress, ...]:
        """The services that it was started with."""
        return tuple(ServiceAddress(*item) for item in self._saved_config.items(_SERVICES_SECTION))

    @property
    def api(self) -> str:
        """The address of Prefect's API that it was started with."""
        return self._saved_config[_PREFECT_SECTION]["api"]

    @property
    def _saved_config(self) -> configparser.RawConfigParser:
        configuration = configparser.RawConfigParser()
        configuration.read(self._config_file)
        return configuration

    def log_of(self, service: str) -> Path:
        """Return where a service's output goes."""
        return self.logs / f"{service}.log"

    def start(self, services: Sequence[Service], api: str) -> None:
        """Start it in the background with the servers, but not the worker.

        Args:
            services: The services to run.
            api: Address of Prefect's API.

        Raises:
            ParameterError: If the state folder's path is too long for a socket in it.
            MillstreamError: If it does not start.
        """
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
            raise ParameterError(
                f"MILLSTREAM_HOME: {self._settings.root} is too long for a socket in it; "
                f"expected at most {_MAX_SOCKET_PATH} bytes for {self._socket}"
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o700)
        with published_file(self._config_file) as draft, draft.open("w") as file:
            self._build_config(services, api).write(file)
        started = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", self._config_file],
            cwd=REPOSITORY,
            # So that a service restarted later uses the same server.
            env=environment_with(
                {
                    MARK: mark_of(self._settings, "supervisor"),
                    "PREFECT_API_URL": api,
                    "MILLSTREAM_HOME": str(self._settings.root),
                    "MILLSTREAM_PYTHON": sys.executable,
                }
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while started.returncode == 0 and self.state != "up" and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL_S)
        if self.state != "up":
            reason = " ".join((started.stdout + started.stderr).split())
            raise MillstreamError(f"supervisord: did not start ({reason}); expected it to answer")

    def start_service(self, name: str) -> None:
        """Start a service, if it does not run."""
        try:
            self._call_or_fail("startProcess", name, False)
        except Fault as fault:
            if not fault.faultString.startswith("ALREADY_STARTED"):
                raise MillstreamError(f"{name}: cannot be started ({fault.faultString})") from fault

    def process_state(self, name: str) -> ProcessState:
        """Return the state of the service `name`."""
        found = self._call_or_fail("getProcessInfo", name)
        return ProcessState(found["name"], found["statename"], found["pid"], found["start"])

    def stop(self) -> None:
        """Stop the services in reverse order, then the process manager; wait for its end."""
        self._settings.api_url_file.unlink(missing_ok=True)
        process = self._find_process()
        if process is None:
            return
        if self.state == "up":
            self._call_or_fail("shutdown")
        # Services stop one after the other.
        with suppress(psutil.TimeoutExpired):
            process.wait(timeout=_STOP_TIMEOUT_S * (len(self.addresses) + 1))

    def _find_process(self) -> psutil.Process | None:
        """Return its process; the pid file of a killed one may name another process."""
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self._pid_file.read_text(encoding="utf-8")))
            if process.environ().get(MARK) == mark_of(self._settings, "supervisor"):
                return process
        return None

    def _call_or_fail(self, method: str, *arguments: object) -> Any:
        try:
            return self._call_rpc(method, *arguments)
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

    def _call_rpc(self, method: str, *arguments: object) -> Any:
        # A new connection a call: a restart of supervisord breaks the old one.
        transport: Any = SupervisorTransport(None, None, f"unix://{self._socket}")
        with closing(transport):
            proxy: Any = ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)

    def _build_config(self, services: Sequence[Service], api: str) -> configparser.RawConfigParser:
        configuration = configparser.RawConfigParser()
        configuration["supervisord"] = {
            "logfile": self._expanded(self.log_of("supervisor")),
            "logfile_maxbytes": str(_LOG_BYTES),
            "logfile_backups": str(_LOG_BACKUPS),
            "pidfile": self._expanded(self._pid_file),
            "childlogdir": self._expanded(self.logs),
            "umask": f"{_umask():03o}",
        }
        configuration["unix_http_server"] = {"file": self._expanded(self._socket), "chmod": "0700"}
        configuration["rpcinterface:supervisor"] = {
            "supervisor.rpcinterface_factory": ("supervisor.rpcinterface:make_main_rpcinterface")
        }
        # supervisord ignores sections of these names.
        configuration[_SERVICES_SECTION] = {service.name: service.address for service in services}
        configuration[_PREFECT_SECTION] = {"api": api}
        for priority, service in enumerate(services, start=1):
            configuration[f"program:{service.name}"] = self._program_section(service, priority)
        return configuration

    def _expanded(self, path: Path) -> str:
        """Return a path of the state folder as supervisord expands it.

        Written out, it would be cut at a blank with `#` or `;`, and percent signs expanded.
        """
        return f"%(ENV_MILLSTREAM_HOME)s/{path.relative_to(self._settings.root)}"

    def _program_section(self, service: Service, priority: int) -> dict[str, str]:
        return {
            "command": f'"%(ENV_MILLSTREAM_PYTHON)s" -m deployments.launch {service.name}',
            "priority": str(priority),
            # The worker needs its pool, which `make up` creates first.
            "autostart": str(service.name != WORKER).lower(),
            "autorestart": "true",
            "startsecs": "3",
            "startretries": "5",
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": str(_STOP_TIMEOUT_S),
            "redirect_stderr": "true",
            # Expanded twice: https://github.com/Supervisor/supervisor/blob/4.3.0/supervisor/options.py#L976
            "stdout_logfile": f"%{self._expanded(self.log_of(service.name))}",
            "stdout_logfile_maxbytes": str(_LOG_BYTES),
            "stdout_logfile_backups": str(_LOG_BACKUPS),
        }


def _umask() -> int:
    """Return the umask of this process, which supervisord would replace by its default."""
    current = os.umask(0o077)
    os.umask(current)
    return current
