"""Deliveries killed with SIGKILL at random moments and repeated: every row is there once."""

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.common.settings import REPOSITORY
from tasks.output.records import write_record
from tests.support.deliveries import Place, publish, shard_id
from tests.support.postgres import Postgres
from tests.system.faults.conftest import Tell

SHARDS, ROWS = 12, 10_000
MOST_KILLS = 20  # of each database


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place("sqlite", f"sqlite:///{tmp_path}/crm.db")
    server: Postgres = request.getfixturevalue("postgres")
    return Place("postgresql", server.new_schema())


def score(output: Path, version: int, chance: random.Random) -> None:
    """Publish another version of about half of the shards, and of all the first time."""
    for number in range(1, SHARDS + 1):
        if version == 1 or chance.random() < 0.5:
            rows = pa.table(
                {"text": ["a film that is not short"] * ROWS, "version": [version] * ROWS}
            )
            write_record(output, publish(output, rows, shard_id(number)))


def start(output: Path, place: Place) -> subprocess.Popen[str]:
    """Start a delivery, and wait until its imports are done."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.delivering", str(output)],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_SOURCE_CRM": place.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def seconds_or_killed(process: subprocess.Popen[str], after: float) -> float:
    """Kill a process after a time; return how long it took, 0 if it was killed."""
    began = time.monotonic()
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
    took = time.monotonic() - began
    _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said
    return 0.0 if process.returncode else took


def check_whole(place: Place) -> dict[str, int]:
    """Check that each shard is there as the ledger has it, and of one version; return these."""
    tables = {
        "postgresql": "select tablename from pg_tables where schemaname = current_schema()",
        "sqlite": "select name from sqlite_master where type = 'table'",
    }
    if ("predictions",) not in place.query(tables[place.backend]):
        return {}
    found = place.query(
        "select shard, count(*), count(distinct row), min(version), max(version) "
        "from predictions group by shard"
    )
    assert {shard: count for shard, count, *_ in found} == place.ledger()
    assert [row for row in found if row[1:3] != (ROWS, ROWS) or row[3] != row[4]] == []
    return {shard: version for shard, _, _, version, _ in found}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_delivery_that_is_killed_again_and_again_has_every_row_once(
    place: Place, tmp_path: Path, kills: int, tell: Tell
) -> None:
    seed = int(os.environ.get("MILLSTREAM_FAULT_SEED") or secrets.randbelow(10**6))
    tell(f"MILLSTREAM_FAULT_SEED={seed}")
    chance, output = random.Random(seed), tmp_path / "out"
    done, version, longest, wanted = 0, 0, 1.0, min(kills, MOST_KILLS)
    while done < wanted:
        version += 1
        score(output, version, chance)
        took = 0.0
        while done < wanted and not took:
            process = start(output, place)
            took = seconds_or_killed(process, chance.uniform(0, longest))
            versions = check_whole(place)
            longest = max(longest, took)
            if not took:
                done += 1
                newest = sum(found == version for found in versions.values())
                tell(f"killed in version {version}; {newest} of {len(versions)} shards are of it")
    process = start(output, place)
    _, said = process.communicate()
    assert process.returncode == 0, said
    check_whole(place)
    assert place.counts() == {shard_id(number): ROWS for number in range(1, SHARDS + 1)}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_that_deliver_the_same_shards_at_once_deliver_each_once(
    place: Place, tmp_path: Path, kills: int
) -> None:
    output = tmp_path / "out"
    for version in (1, 2):
        score(output, version, random.Random(version))
        processes = [start(output, place) for _ in range(4)]
        for process in processes:
            _, said = process.communicate()
            assert process.returncode == 0, said
        check_whole(place)
        assert place.counts() == {shard_id(number): ROWS for number in range(1, SHARDS + 1)}
