"""Workers and drivers are killed at random moments: each row is published once, or named."""

import json
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from glob import iglob
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, running_cluster
from tests.support.operation import Operation, until
from tests.support.scoring_command import Running, Scoring, wait_until
from tests.system.faults.rows import write_rows
from tests.system.faults.whole import check_same, check_tidy, check_whole

KILLS = int(os.environ.get("MILLSTREAM_FAULT_KILLS", "2"))
SEED = int(os.environ.get("MILLSTREAM_FAULT_SEED", str(secrets.randbelow(10**6))))

OPTIONS = ("--shard-rows", "100", "--no-use-cache")
START_UP = 8.0  # seconds in which a driver starts
A_TASK = 0.5
SETTLED = 1.5  # a worker stops within a second

pytestmark = pytest.mark.timeout(3_000)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "in", 1_000, seed=2)


@pytest.fixture(scope="module")
def expected(cluster: Cluster, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What threads publish, without a kill."""
    output = tmp_path_factory.mktemp("expected") / "out"
    cluster.scoring(rows, output, *OPTIONS, "--runner", "threads").run_to_the_end()
    return output


@pytest.fixture(scope="module")
def strict_cluster(
    operation: Operation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two workers, and a scheduler that gives no task to a second one."""
    folder = tmp_path_factory.mktemp("strict") / "cluster"
    strict = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with running_cluster(folder, operation, **strict) as cluster:
        for name in ("one", "two"):
            cluster.start_worker(name)
        yield cluster


def chances(name: str) -> Iterator[random.Random]:
    for number in range(KILLS):
        seed = f"{name} {SEED} {number}"
        sys.stdout.write(f"{seed}\n")
        yield random.Random(seed)


def published(output: Path) -> dict[str, int]:
    """Return when each file of an output was changed, without staged rows and drafts."""
    files = (path for path in output.rglob("*") if path.is_file() and ".staged" not in str(path))
    return {str(path): path.stat().st_mtime_ns for path in files}


def staged(output: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in output.glob(".staged/**/*"):
        status = path.stat()
        found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def wait_for_moment(running: Running, output: Path, chance: random.Random, shards: int) -> None:
    """Wait for a random moment after the first task was submitted."""
    some = chance.randrange(shards)
    # Folders come and go meanwhile; pathlib's glob raises on one that has gone.
    rows = f"{output}/.staged/*-*/*.arrow"
    wait_until(lambda: running.is_over or any(iglob(rows)), "staged rows")  # noqa: PTH207
    wait_until(
        lambda: running.is_over or len(list(output.glob("records/*.json"))) >= some, "shards"
    )
    time.sleep(chance.uniform(0, A_TASK))


def kill_a_worker(
    cluster: Cluster, scoring: Scoring, chance: random.Random, shards: int
) -> tuple[int, str]:
    """Start scoring, kill a worker meanwhile, and start it again; return how the run ended."""
    running = scoring.start()
    wait_for_moment(running, scoring.output, chance, shards)
    name = chance.choice(list(cluster.workers))
    cluster.workers[name].kill()
    cluster.start_worker(name)
    ended = running.wait()
    at_end = published(scoring.output)
    time.sleep(SETTLED)
    assert published(scoring.output) == at_end
    return ended.code, ended.said


def unfinished(cluster: Cluster) -> list[str]:
    """Return the task runs that are shown as running, of flow runs that ended."""
    body = {
        "flow_runs": {"state": {"type": {"any_": ["FAILED", "COMPLETED"]}}},
        "task_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}},
    }
    found = cluster.operation.post("/task_runs/filter", body).json()
    return [f"{one['name']} {one['state_name']} {one['start_time']}" for one in found]


def shards_in(output: Path) -> int:
    return len(list(output.glob("records/*.json")))


def test_what_a_killed_worker_had_is_scored_by_another(
    cluster: Cluster, rows: Path, expected: Path, tmp_path: Path
) -> None:
    for number, chance in enumerate(chances("worker")):
        scoring = cluster.scoring(rows, tmp_path / f"out-{number}", *OPTIONS)
        code, said = kill_a_worker(cluster, scoring, chance, shards_in(expected))
        assert code == 0, said
        check_same(scoring.output, expected)
        check_tidy(scoring.output)
    until(lambda: not unfinished(cluster), "ends of tasks")


def test_what_a_killed_worker_had_fails_by_name(
    strict_cluster: Cluster, rows: Path, expected: Path, tmp_path: Path
) -> None:
    lost = 0
    for number, chance in enumerate(chances("strict")):
        scoring = strict_cluster.scoring(rows, tmp_path / f"out-{number}", *OPTIONS)
        code, said = kill_a_worker(strict_cluster, scoring, chance, shards_in(expected))
        assert code in (0, 6), said
        check_whole(scoring.output)
        outcomes = json.loads((scoring.output / "manifest.json").read_text())["shards"]
        failed = [outcome for outcome in outcomes if outcome["error"]]
        assert bool(failed) == (code == 6)
        for outcome in failed:
            assert "was lost while it scored" in outcome["error"]
            assert outcome["rows_failed"] > 0
        lost += len(failed)
        until(lambda: not unfinished(strict_cluster), "ends of lost tasks")
        assert scoring.run().code == 0
        check_same(scoring.output, expected)
        check_tidy(scoring.output)
    sys.stdout.write(f"{lost} shards were lost with {KILLS} workers\n")


def test_a_killed_driver_leaves_nothing_that_is_published_later(
    cluster: Cluster, rows: Path, expected: Path, tmp_path: Path
) -> None:
    for number, chance in enumerate(chances("driver")):
        output = tmp_path / f"out-{number}"
        scoring = cluster.scoring(rows, output, *OPTIONS)
        running = scoring.start()
        wait_for_moment(running, output, chance, shards_in(expected))
        running.kill()
        before = published(output)
        if number % 2:
            # The workers notice that the driver is gone.
            time.sleep(SETTLED)
            drafts = staged(output)
            time.sleep(SETTLED)
            assert staged(output) == drafts
            assert published(output) == before
            check_whole(output)
        assert scoring.run().code == 0
        at_end = published(output)
        time.sleep(SETTLED)
        assert published(output) == at_end
        check_same(output, expected)
        check_tidy(output)


def test_a_stopped_driver_stops_the_workers(
    cluster: Cluster, rows: Path, expected: Path, tmp_path: Path
) -> None:
    for number, chance in enumerate(chances("stopped")):
        output = tmp_path / f"out-{number}"
        scoring = cluster.scoring(rows, output, *OPTIONS)
        running = scoring.start()
        wait_for_moment(running, output, chance, shards_in(expected))
        os.kill(running.process.pid, signal.SIGTERM)
        ended = running.wait()
        at_end = published(output)
        assert ended.code in (0, -signal.SIGTERM), ended.said
        assert not (output / ".staged").exists()
        time.sleep(SETTLED)
        assert not (output / ".staged").exists()
        assert published(output) == at_end
        check_whole(output)
        assert scoring.run().code == 0
        check_same(output, expected)
        check_tidy(output)


def test_without_its_scheduler_a_run_ends_and_the_next_goes_on(
    operation: Operation, rows: Path, expected: Path, tmp_path: Path
) -> None:
    with running_cluster(tmp_path / "dask", operation) as cluster:
        one = cluster.start_worker("one")
        scoring = cluster.scoring(rows, tmp_path / "out", *OPTIONS)
        running = scoring.start()
        wait_until(lambda: running.is_over or shards_in(scoring.output) > 2, "shards")
        cluster.schedulers[0].kill()
        ended = running.wait()
        assert ended.code == 6, ended.said
        outcomes = json.loads((scoring.output / "manifest.json").read_text())["shards"]
        errors = {outcome["error"] for outcome in outcomes} - {""}
        assert errors
        assert all("scheduler" in error for error in errors), errors
        # The worker ended with an error, so that what supervises it starts it again.
        wait_until(lambda: one.is_over, "worker")
        assert one.process.returncode == 13
        cluster.start_scheduler()
        cluster.start_worker("one")
        assert scoring.run().code == 0
        check_same(scoring.output, expected)
        check_tidy(scoring.output)
