"""A real PostgreSQL in a temporary folder, on loopback, with a password.

It refuses to run as root: then it runs as the user `postgres`, whom Debian's package makes.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

USER = "stream_owner"
# Searched for in all that is written: no message may have it.
PASSWORD = "the-password-that-none-may-quote"

_USER_OF_ROOT = "postgres"
_PROGRAMS = ("initdb", "postgres")
_PATIENCE_S = 60
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "timezone": "Asia/Kathmandu",  # whatever the zone of the server, times stay what they are
}


@dataclass
class Postgres:
    """A server.

    Attributes:
        folder: Its data and its log.
        programs: Folder of its programs.
        port: Where it listens, on loopback.
    """

    folder: Path
    programs: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def new_database(self, encoding: str = "UTF8") -> str:
        """Return the address of an empty database of its own."""
        name = f"stream_{next(self._numbers)}"
        with psycopg.connect(self.address_of("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template template0 encoding {}").format(
                    sql.Identifier(name), sql.Literal(encoding)
                )
            )
        return self.address_of(name)

    def new_schema(self) -> str:
        """Return the address of an empty schema of its own, which takes less time than a database.

        It is the only one of the search path.
        """
        name = f"stream_{next(self._numbers)}"
        address = self.address_of("postgres")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
        return f"{address}?options=-csearch_path%3D{name}"

    def address_of(self, database: str, user: str = USER) -> str:
        """Return the address of a database, with the password."""
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        self._process = self._begin("postgres", f"-p{self.port}", *settings)
        deadline = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.address_of("postgres")).close()
                return
            time.sleep(0.02)
        raise RuntimeError(self._said())

    def stop(self) -> None:
        """Stop it at once, with all connections and transactions."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_PATIENCE_S)

    def initialise(self) -> None:
        """Make its data."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        options = "--no-sync --no-instructions --no-locale --encoding=UTF8 --auth=scram-sha-256"
        begun = self._begin("initdb", *options.split(), f"-U{USER}", f"--pwfile={password}")
        if begun.wait(_PATIENCE_S):
            raise RuntimeError(self._said())

    def _begin(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [*_as_owner(), str(self.programs / program), f"-D{self.folder / 'data'}"]
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [*command, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            )

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]

    @property
    def _log(self) -> Path:
        return self.folder / "log"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server; skip the test where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; Debian's package is postgresql")
    if os.geteuid() == 0 and _USER_OF_ROOT not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip(f"PostgreSQL refuses root, and there is no user {_USER_OF_ROOT}")
    folder = Path(tempfile.mkdtemp(prefix="millstream-postgres-"))
    server = Postgres(folder, programs)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _USER_OF_ROOT)
        server.initialise()
        _start_on_free_port(server)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _start_on_free_port(server: Postgres) -> None:
    for attempt in range(3):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server.port = listening.getsockname()[1]
        try:
            server.start()
        except RuntimeError:  # another process may have taken the port
            if attempt == 2:
                raise
        else:
            return


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest of Debian's or that of the PATH."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    found = sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    has_all = (f for f in found if all((f / program).is_file() for program in _PROGRAMS))
    return next(has_all, None)


def _as_owner() -> list[str]:
    """Return the start of a command that ends with this process, also if it is killed."""
    become = f"--reuid={_USER_OF_ROOT} --regid={_USER_OF_ROOT} --init-groups"
    as_root = become.split() if os.geteuid() == 0 else []
    return ["setpriv", *as_root, "--pdeathsig=QUIT", "--"]
