"""Learning, comparing and promoting killed at random moments: one version, one alias, one event."""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL

from flows.learn_from_feedback import learn_from_feedback
from tasks.common.settings import REPOSITORY, get_settings
from tasks.promotion.types import PROMOTED
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL
from tests.support.builders import build_unverified, train_unevaluated, use_home
from tests.support.built_once import copied_home
from tests.support.films import NEW, TRAINED, films
from tests.support.scoring_command import wait_until
from tests.system.faults.conftest import Tell

MOST_KILLS = 10  # of each command
SETTLING = 1.0  # seconds that a second event would take at most


@pytest.fixture(params=["learning", "comparing"])
def command(
    request: pytest.FixtureRequest, new_database: None, prefect_with_events: None, tmp_path: Path
) -> list[str]:
    """A command that makes version 2 champion in place of 1, and the state folder for it."""
    data, feedback, labelled = (tmp_path / name for name in ("data.csv", "new.csv", "rows.csv"))
    films(TRAINED, range(400)).to_csv(data, index=False)
    films(NEW, range(400, 500)).to_csv(feedback, index=False)
    films(NEW, range(1_000, 1_150)).to_csv(labelled, index=False)
    trained = train_unevaluated("static", data, test_fraction=0.6)
    assert build_unverified(trained["finetuned_model"])["alias"] == "champion"
    if request.param == "learning":
        return ["flows.learn_from_feedback", "--feedback", str(feedback)]
    learn_from_feedback((str(feedback),), promotion="never")
    return [
        *("flows.compare_pipelines", "--inputs", str(labelled), "--label-column", "label"),
        *("--promotion", "if_better"),
    ]


def seconds_or_killed(command: list[str], home: Path, after: float | None) -> float:
    """Run a command, and kill it after a time; return how long it took, 0 if it was killed."""
    api_url = PREFECT_API_URL.value()
    assert api_url
    began = time.monotonic()
    # Without the address of the database that MLflow leaves there.
    inherited = {name: os.environ[name] for name in os.environ.keys() - {"MLFLOW_TRACKING_URI"}}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        env=inherited | {"MILLSTREAM_HOME": str(home), "PREFECT_API_URL": api_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return 0.0
    assert process.returncode == 0, said
    return time.monotonic() - began


def promotions() -> int:
    """Return how many events of a new champion Prefect's server has."""
    with get_client(sync_client=True) as client:
        asked = {"filter": {"event": {"name": [PROMOTED]}}}
        answer = client.request("POST", "/events/filter", json=asked)
        return int(answer.json()["total"])


def is_announced(before: int) -> bool:
    """Return whether there is an event more than before."""
    return promotions() > before


def check_one_of_each(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the versions and aliases of a state folder."""
    with monkeypatch.context() as patched:
        use_home(home, patched)
        client = connect()
        for name in (FINETUNED_MODEL, PIPELINE_MODEL):
            assert len(client.search_model_versions(f"name = '{name}'")) == 2
        assert registry.get_aliases(PIPELINE_MODEL) == {"champion": 2}
        assert registry.previous_champion_number(PIPELINE_MODEL) == 1
        store = get_settings().feedback_store
        assert len(list(store.glob("batch-*.parquet"))) == 1
    get_settings.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_promotion_by_feedback_or_traffic_that_is_killed_is_made_once(
    command: list[str],
    home: Path,
    tmp_path: Path,
    kills: int,
    tell: Tell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed = int(os.environ.get("MILLSTREAM_FAULT_SEED") or secrets.randbelow(10**6))
    tell(f"MILLSTREAM_FAULT_SEED={seed}")
    chance, longest = random.Random(seed), 0.0
    for number in range(min(kills, MOST_KILLS) + 1):
        own = tmp_path / f"own-{number}"
        copied_home(home, own)
        before = promotions()
        if number:
            moment = chance.uniform(0, longest)
            took = seconds_or_killed(command, own, moment)
            tell(f"{command[0]}: killed after {moment:.1f} s" if not took else "it was over before")
        took = seconds_or_killed(command, own, None)
        longest = longest or took  # the first is not killed
        wait_until(partial(is_announced, before), "the event of the new champion")
        time.sleep(SETTLING)
        assert promotions() == before + 1
        check_one_of_each(own, monkeypatch)
        shutil.rmtree(own)
