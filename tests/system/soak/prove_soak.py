"""A schedule of every minute for a quarter of an hour, while parts of it are killed.

`make soak` runs it. MILLSTREAM_SOAK_MINUTES shortens it for whoever works on it.
"""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from tests.support.builders import Trained
from tests.support.operation import FINAL, Operation, in_operation, until
from tests.support.processes import process_of, runs_in
from tests.support.scoring_command import state_folder
from tests.support.webhook import webhook

MINUTES = float(os.environ.get("MILLSTREAM_SOAK_MINUTES", "15"))
ROWS = 400
SECONDS_A_FILE = 15

# When what is killed, as a share of the time.
BLOWS: tuple[tuple[float, str], ...] = (
    (0.20, "run"),
    (0.35, "run"),
    (0.50, "worker and runs"),
    (0.70, "server"),
)
LAST_FILE = 0.9


class Inbox:
    """Feeds files to an inbox, and watches what becomes of them."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "inbox"
        self.output = home / "scored" / "soak"
        self.fed = 0
        self.versions: dict[str, set[int]] = {}

    def feed(self) -> None:
        texts = [
            f"film {row} of file {self.fed}, and what there is to say of it" * 3
            for row in range(ROWS)
        ]
        draft = self.folder / f".{self.fed:03}.csv"
        pd.DataFrame({"text": texts}).to_csv(draft, index=False)
        draft.rename(self.folder / f"{self.fed:03}.csv")
        self.fed += 1

    def watch(self) -> None:
        """Remember each version of each published file."""
        for path in self.output.glob("predictions/*.parquet"):
            self.versions.setdefault(path.name, set()).add(path.stat().st_mtime_ns)

    def published(self) -> Counter[tuple[str, int]]:
        """Return how often each row of each file is published."""
        rows: Counter[tuple[str, int]] = Counter()
        for path in self.output.glob("predictions/*.parquet"):
            table = pq.read_table(path, columns=["shard", "row"]).to_pylist()
            rows.update((row["shard"].split("-")[0], row["row"]) for row in table)
        return rows


@contextmanager
def again_and_again(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(seconds):
            act()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def deploy(operation: Operation) -> str:
    """Deploy the schedule and return the deployment's id."""
    operation.deploy(Path(__file__).with_name("prefect.yaml"))
    return str(operation.get("/deployments/name/score-shards/soak")["id"])


def strike(operation: Operation, what: str) -> str:
    """Kill something that works, and return what it was."""
    if what == "server":
        process_of(operation.home, "prefect").kill()
        return "Prefect's server"
    victims: list[psutil.Process] = []

    def found() -> bool:
        victims[:] = runs_in(operation.home)
        # The process of a run that is Completed lives on for a moment.
        return bool(victims and unfinished(operation))

    until(found, "a run to kill", 120)
    if what == "worker and runs":
        victims.insert(0, process_of(operation.home, "worker"))
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    return f"{what}: {len(victims)} processes"


def unfinished(operation: Operation) -> list[dict[str, Any]]:
    """Return all runs, of any flow, that have begun and not ended."""
    states = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]}}
    found = operation.post("/flow_runs/filter", {"flow_runs": {"state": states}})
    runs: list[dict[str, Any]] = found.json()
    return runs


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def stop_schedule(operation: Operation, deployment: str) -> None:
    (schedule,) = operation.get(f"/deployments/{deployment}/schedules")
    operation.patch(f"/deployments/{deployment}/schedules/{schedule['id']}", {"active": False})


@pytest.mark.timeout(0)
def test_every_input_is_scored_once_whatever_is_killed(trained: Trained, tmp_path: Path) -> None:
    home = state_folder(trained.home, tmp_path / "var")
    inbox = Inbox(home)
    with (
        webhook() as hook,
        in_operation(home, MILLSTREAM_NOTIFICATION_URL=f"{hook.host}/accepted") as operation,
    ):
        deployment = deploy(operation)
        started = time.monotonic()
        blows = list(BLOWS)
        with again_and_again(0.5, inbox.watch):
            while (share := (time.monotonic() - started) / (60 * MINUTES)) < 1:
                if share < LAST_FILE and inbox.fed * SECONDS_A_FILE <= share * 60 * MINUTES:
                    inbox.feed()
                if blows and share >= blows[0][0]:
                    say(f"{share:.0%}: killed {strike(operation, blows.pop(0)[1])}")
                time.sleep(0.5)
            stop_schedule(operation, deployment)
            until(lambda: not unfinished(operation), "every run has ended", 400)
            inbox.watch()

        runs = operation.runs_of("score-shards/soak")
        states = Counter(run["state_name"] for run in runs)
        say(f"{inbox.fed} files, {dict(states)}, {len(hook.received)} notifications")
        assert not blows
        assert states.keys() <= FINAL
        assert states["Completed"] >= MINUTES / 3
        # A run that is killed with its worker is found dead, and one without it at once.
        assert states["Crashed"] >= 3
        until(lambda: len(hook.received) == states["Crashed"] + states["Failed"], "all is told", 30)

        expected = {
            (f"{number:03}", row) for number in range(inbox.fed) for row in range(1, ROWS + 1)
        }
        assert inbox.published() == Counter(expected)
        assert {name for name, seen in inbox.versions.items() if len(seen) != 1} == set()

        limits = operation.post("/v2/concurrency_limits/filter", {}).json()
        assert [limit for limit in limits if limit["active_slots"]] == []
        operation.complete("score-shards/soak", {})
