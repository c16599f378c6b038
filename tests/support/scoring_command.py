"""Run the scoring command in a session of its own: wait for it, or kill it with its children."""

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

from tasks.common.settings import REPOSITORY, Settings
from tasks.maintenance.relocation import relocate

PATIENCE = 180.0  # seconds for whatever should happen soon, on busy cores


def wait_until(holds: Callable[[], object], what: str, every: float = 0.05) -> None:
    """Wait until a condition holds.

    Args:
        holds: The condition.
        what: What is waited for, in words.
        every: Seconds between two looks. The shorter, the more it keeps a core from others.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(every)


def state_folder(trained: Path, folder: Path) -> Path:
    """Create a state folder with the models of another and an empty cache."""
    folder.mkdir()
    shutil.copyfile(trained / "mlflow.db", folder / "mlflow.db")
    shutil.copytree(trained / "mlartifacts", folder / "mlartifacts")
    relocate(Settings().model_copy(update={"home": folder}), trained)
    return folder


@dataclass(frozen=True)
class Ended:
    """The result of a command.

    Attributes:
        code: Exit code.
        said: Standard error.
    """

    code: int
    said: str

    @property
    def error(self) -> str:
        """The error line; asserts that there is one and no traceback."""
        assert "Traceback" not in self.said
        (line,) = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")


@dataclass(frozen=True)
class Running:
    """A running command.

    Attributes:
        process: Its process, a session leader.
        log: File of its standard error.
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
        """Wait for its end, and kill it after a timeout."""
        try:
            code = self.process.wait(timeout=PATIENCE)
        finally:
            self.kill()
        return Ended(code, self.said)

    def members(self) -> list[int]:
        """Return the live processes of its session."""
        return [
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _session_of(stat) == self.process.pid
        ]

    def kill(self) -> None:
        """Kill it with all its children, and wait for their end."""
        _kill(-self.process.pid)
        self.process.wait()
        while rest := self.members():
            for member in rest:
                _kill(member)


@dataclass(frozen=True)
class Scoring:
    """A scoring command.

    Attributes:
        home: The state folder.
        inputs: Files or folders.
        output: The output folder.
        api_url: The Prefect server; empty for a temporary one.
        options: Other options.
        wrapper: Prefix of the command line.
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
        """Run it successfully and return the summary."""
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
        # The test process may have another database.
        ours = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        ours |= {
            "MILLSTREAM_HOME": str(self.home),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": self.api_url,
            # Several processes with a thread a core slow each other down.
            "OMP_NUM_THREADS": "1",
        }
        return ours | self.environment


def _session_of(stat: Path) -> int:
    """Return the session of a live process, or 0."""
    try:
        # The program name in parentheses may hold spaces and parentheses.
        state, _parent, _group, session = stat.read_text().rpartition(")")[2].split()[:4]
    except (OSError, ValueError):
        return 0
    return 0 if state == "Z" else int(session)


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
