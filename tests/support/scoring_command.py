"""The real command, in a session of its own: waited for, or killed with all its children."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.common.settings import REPOSITORY

PATIENCE = 180.0  # seconds for whatever should happen soon, on busy cores


def wait_until(holds: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Look again and again, without a pause that others could hide in."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.0002)


def state_folder(trained: Path, folder: Path) -> Path:
    """Make a state folder that knows the models of another, with a cache of its own."""
    folder.mkdir()
    # The artifacts stay where they are: the database has their absolute paths.
    shutil.copyfile(trained / "mlflow.db", folder / "mlflow.db")
    return folder


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code.
        said: All that it wrote to standard error.
    """

    code: int
    said: str

    @property
    def error(self) -> str:
        """The one line that says what went wrong, having seen that it is no traceback."""
        assert "Traceback" not in self.said
        (line,) = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")


@dataclass(frozen=True)
class Running:
    """A command on its way; its process leads a session.

    Attributes:
        process: The command.
        log: Where its standard error goes.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> Ended:
        """Wait for its own end, or end it when that takes too long."""
        try:
            code = self.process.wait(timeout=PATIENCE)
        finally:
            self.kill()
        return Ended(code, self.said)

    def members(self) -> list[int]:
        """Return the processes of its session that are alive."""
        return [
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _session_of(stat) == self.process.pid
        ]

    def kill(self) -> None:
        """Kill it and all its children at once, if they live; return when all are gone."""
        _kill(-self.process.pid)
        self.process.wait()
        while rest := self.members():
            for member in rest:
                _kill(member)


@dataclass(frozen=True)
class Scoring:
    """A command that scores.

    Attributes:
        home: The state folder.
        inputs: Files or folders.
        output: The output folder.
        api_url: The Prefect server; if it is empty, the command starts one.
        options: Other options.
        wrapper: What starts the command in its place.
    """

    home: Path
    inputs: tuple[Path, ...]
    output: Path
    api_url: str = ""
    options: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> Running:
        log = self.home / f"said-{time.monotonic_ns()}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", "flows.score_shards", *self._arguments()],
                cwd=REPOSITORY,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        return Running(process, log)

    def run(self) -> Ended:
        return self.start().wait()

    def run_to_the_end(self) -> dict[str, Any]:
        """Run it and return the summary."""
        ended = self.run()
        assert ended.code == 0, ended.said
        return self.summary()

    def summary(self) -> dict[str, Any]:
        manifest = json.loads((self.output / "manifest.json").read_text(encoding="utf-8"))
        summary: dict[str, Any] = manifest["summary"]
        return summary

    def _arguments(self) -> list[str]:
        inputs = [argument for path in self.inputs for argument in ("--inputs", str(path))]
        return [*inputs, "--output-dir", str(self.output), *self.options]

    def _environment(self) -> dict[str, str]:
        # The test's own process may have connected to another database.
        ours = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        ours |= {
            "MILLSTREAM_HOME": str(self.home),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": self.api_url,
            # Two processes with as many threads each as there are cores wait for each other.
            "OMP_NUM_THREADS": "1",
        }
        return ours | self.environment


def _session_of(stat: Path) -> int:
    """Return the session of a process that is alive, or 0."""
    try:
        # The name of the program, in parentheses, may hold anything.
        state, _parent, _group, session = stat.read_text().rpartition(")")[2].split()[:4]
    except (OSError, ValueError):
        return 0
    return 0 if state == "Z" else int(session)


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
