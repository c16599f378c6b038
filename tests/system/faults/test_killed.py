"""Killed with SIGKILL at random moments and run again: nothing is lost, no work is done twice."""

import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.score_shards import score_shards
from tasks.output.folder import STAGING
from tests.support.builders import Composed, Trained
from tests.support.scoring_command import Running, Scoring, state_folder, wait_until
from tests.system.faults.conftest import Tell
from tests.system.faults.rows import write_rows
from tests.system.faults.whole import Published, check_same, check_tidy, check_whole

ROWS = 4_000  # of each of three files
SHARD_ROWS = 200
WORKERS = 2
OPTIONS = ("--shard-rows", str(SHARD_ROWS), "--workers", str(WORKERS))

# What is waited for before a kill, again and again in this order.
MOMENTS = ("scoring", "start-up", "publishing", "ending", "scoring", "publishing")

START_UP = 8.0  # seconds from which a moment is drawn; on idle cores the first shard is done in 7
ENDING = 2.0  # the same, from the last shard to the end of the process
A_SHARD = 0.3

SINGLE = 1  # the version before the composed one


@pytest.fixture
def expected(trained: Trained, tmp_path: Path) -> Path:
    """What a run gives that nobody kills, and that has no cache."""
    folder = tmp_path / "expected"
    inputs = write_rows(tmp_path / "in", ROWS, seed=1)
    score_shards([str(inputs)], str(folder), shard_rows=SHARD_ROWS, use_cache=False)
    return folder


@dataclass(frozen=True)
class Killed:
    """A run that was killed.

    Attributes:
        phase: What it was about.
        published: What the output folder held then.
    """

    phase: str
    published: Published

    def in_words(self, total: int) -> str:
        done, begun = len(self.published.records), len(self.published.begun)
        return f"killed in {self.phase}; of {total} shards {done} done, {begun} half published"


def shards_of(folder: Path) -> int:
    return len(list(folder.glob("records/*.json")))


def deciders_of(folder: Path) -> set[str | None]:
    """Return the members that decided rows; None where a single model answered."""
    table = pq.read_table(folder / "predictions", columns=["prediction_decided_by"])
    return set(table["prediction_decided_by"].to_pylist())


def await_moment(
    running: Running, output: Path, moment: str, missing: int, chance: random.Random
) -> None:
    """Wait for a random moment of a phase, or the end of the command."""
    before = shards_of(output)
    if moment == "start-up":
        time.sleep(chance.uniform(0, START_UP))
        return
    more = missing if moment == "ending" else chance.randrange(missing)
    wait_until(lambda: running.is_over or shards_of(output) >= before + more, "shards")
    if moment == "publishing":
        await_draft(running, output, chance.choice(["rejected", "predictions", "records"]))
        return
    time.sleep(chance.uniform(0, ENDING if moment == "ending" else A_SHARD))


def await_draft(running: Running, output: Path, folder: str) -> None:
    """Wait until a file of a folder is written, which takes milliseconds."""
    process = running.process.pid  # the drafts of earlier ones may be there
    own = {"records": f"records/.*.{process}-*.draft"}.get(
        folder, f"{STAGING}/{process}-*.{folder}.*"
    )
    wait_until(lambda: running.is_over or any(output.glob(own)), "a draft", every=0.0002)


def phase_of(before: Published, now: Published, total: int) -> str:
    if now.held_since == before.held_since:
        return "start-up"
    if len(now.records) == total:
        return "ending"
    went_on = (
        now.records.keys() > before.records.keys() or now.staged.items() - before.staged.items()
    )
    return "scoring" if went_on else "surveying"


def check_kept(before: Published, now: Published) -> None:
    """Check that finished shards were left alone, and no more was begun than can be at once."""
    assert before.records.items() <= now.records.items()
    assert not now.stale
    assert len(now.begun) <= WORKERS
    assert len(now.staged) <= 2 * WORKERS


def killed_runs(
    scoring: Scoring, moments: Iterator[str], total: int, chance: random.Random
) -> Iterator[Killed]:
    """Run and kill, in one folder, until all its shards are there or the moments are used up."""
    before = check_whole(scoring.output)
    while len(before.records) < total:
        running = scoring.start()
        moment = next(moments)
        try:
            await_moment(running, scoring.output, moment, total - len(before.records), chance)
        finally:
            running.kill()
        now = check_whole(scoring.output)
        check_kept(before, now)
        if running.process.returncode == 0:  # it was faster
            return
        assert running.process.returncode == -signal.SIGKILL, running.said
        yield Killed(phase_of(before, now, total), now)
        before = now


def check_end(scoring: Scoring, expected: Path, before: Published) -> None:
    """Run to the end; check what there is then."""
    summary = scoring.run_to_the_end()
    now = check_whole(scoring.output)
    check_kept(before, now)
    assert not now.begun
    assert summary["shards_skipped"] == len(before.records)
    assert summary["shards_total"] == len(now.records)
    check_tidy(scoring.output)
    check_same(scoring.output, expected)


@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_a_run_that_is_killed_again_and_again_ends_as_if_nobody_had(
    scoring: Scoring, composed: Composed, tmp_path: Path, kills: int, tell: Tell
) -> None:
    """The champion is composed of several models, and a single one answers a share of the keys.

    Each row is answered by the version of its arm, and names the members, whoever is killed.
    """
    inputs, expected = write_rows(tmp_path / "in", ROWS, seed=1), tmp_path / "expected"
    split = (f"{SINGLE}=0.3", "id")
    score_shards(
        [str(inputs)],
        str(expected),
        shard_rows=SHARD_ROWS,
        use_cache=False,
        split=split[0],
        split_key=split[1],
    )
    assert deciders_of(expected) == {"quick", "film", None}
    options = (*OPTIONS, "--split", split[0], "--split-key", split[1])
    seed = int(os.environ.get("MILLSTREAM_FAULT_SEED") or secrets.randbelow(10**6))
    tell(f"MILLSTREAM_FAULT_SEED={seed}")
    chance, moments, total = random.Random(seed), cycle(MOMENTS), shards_of(expected)
    phases: Counter[str] = Counter()
    for attempt in range(kills * 2):
        home = state_folder(composed.home, tmp_path / f"home-{attempt}")
        again = replace(scoring, home=home, output=tmp_path / f"out-{attempt}", options=options)
        for killed in killed_runs(again, moments, total, chance):
            phases[killed.phase] += 1
            tell(killed.in_words(total))
            if phases.total() == kills:
                break
        check_end(again, expected, check_whole(again.output))
        tell(f"run {attempt} came to its end")
        if phases.total() == kills:
            break
    assert phases.total() == kills
    tell(f"{kills} kills: {dict(phases)}")


@pytest.mark.slow
@pytest.mark.usefixtures("campaign")
def test_a_run_that_is_killed_with_the_server_it_started_goes_on(
    scoring: Scoring, expected: Path
) -> None:
    alone = replace(scoring, api_url="", options=OPTIONS)
    running = alone.start()
    try:
        wait_until(lambda: running.is_over or shards_of(alone.output), "the first shard")
        assert len(running.members()) >= 2
    finally:
        running.kill()
    assert running.process.returncode == -signal.SIGKILL, running.said
    check_end(alone, expected, check_whole(alone.output))


@pytest.mark.slow
@pytest.mark.usefixtures("campaign")
def test_a_killed_run_that_replaces_finished_shards_leaves_no_mixture_that_counts(
    scoring: Scoring, expected: Path, tell: Tell
) -> None:
    # Without the cache no row is `cached`, so that the files of the later runs are others.
    replace(scoring, options=(*OPTIONS, "--no-use-cache")).run_to_the_end()
    total = shards_of(expected)
    for _ in range(3):
        before = check_whole(scoring.output)
        running = replace(scoring, options=(*OPTIONS, "--no-resume")).start()
        try:
            await_draft(running, scoring.output, "records")  # the predictions are replaced then
        finally:
            running.kill()
        assert running.process.returncode == -signal.SIGKILL, running.said
        now = check_whole(scoring.output)
        assert len(now.stale - before.stale) <= WORKERS
        assert len(now.records) + len(now.stale) == total
        tell(f"killed while it replaced; {len(now.stale)} of {total} half replaced")
    check_end(replace(scoring, options=OPTIONS), expected, check_whole(scoring.output))
