"""An output folder that is damaged, full, or wanted by two runs."""

import os
import random
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.scoring_command import Scoring
from tests.system.faults.rows import texts, write_csv, write_rows
from tests.system.faults.whole import check_same, check_tidy, check_whole

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("campaign")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mounted).returncode != 0:
        pytest.skip("only root mounts a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def test_a_disk_that_fills_up_ends_the_run_and_the_next_one_goes_on(
    scoring: Scoring, small_disk: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "in", 3_000, seed=3)
    scoring = replace(scoring, output=small_disk / "out", options=("--shard-rows", "500"))
    ended = scoring.run()
    assert ended.code == 8, ended.said
    assert ended.error == (
        f"output_dir: {scoring.output} cannot be written (No space left on device); what "
        "was published before is safe, and the next run goes on from there"
    )
    before = check_whole(scoring.output)
    assert before.records

    enlarge(small_disk)
    summary = scoring.run_to_the_end()
    assert summary["shards_skipped"] == len(before.records) < summary["shards_total"]
    assert before.records.items() <= check_whole(scoring.output).records.items()
    check_tidy(scoring.output)


def test_a_file_that_may_not_grow_ends_the_run_and_the_next_one_goes_on(
    scoring: Scoring, tmp_path: Path
) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    write_csv(inputs / "a.csv", texts(100, random.Random(4)))
    notes = [secrets.token_hex(100_000) for _ in range(100)]
    large = pa.table({"text": [f"film {number}" for number in range(100)], "note": notes})
    pq.write_table(large, inputs / "b.parquet")
    limited = replace(scoring, wrapper=("prlimit", f"--fsize={8 * 2**20}"))
    ended = limited.run()
    assert ended.code == 8, ended.said
    assert f"{scoring.output} cannot be written (File too large)" in ended.error
    before = check_whole(scoring.output)
    assert len(before.records) == 1

    assert scoring.run_to_the_end()["shards_skipped"] == 1
    assert len(check_whole(scoring.output).records) == 2
    check_tidy(scoring.output)


def test_what_is_deleted_or_altered_between_runs_is_scored_again(
    scoring: Scoring, tmp_path: Path
) -> None:
    write_rows(tmp_path / "in", 400, seed=5)
    scoring = replace(scoring, options=("--shard-rows", "100"))
    undisturbed = replace(scoring, output=tmp_path / "expected")
    undisturbed.run_to_the_end()
    assert scoring.run_to_the_end()["shards_done"] == 12
    before = check_whole(scoring.output)
    deleted, altered, *_ = sorted(scoring.output.glob("predictions/b-*"))
    deleted.unlink()
    pq.write_table(pq.read_table(altered).slice(1), altered)

    summary = scoring.run_to_the_end()
    assert summary["scored_because"] == {
        "its predictions file is missing": 1,
        "its predictions file was altered": 1,
    }
    now = check_whole(scoring.output)
    again = {name for name, since in now.records.items() if since != before.records[name]}
    assert again == {deleted.stem, altered.stem}
    check_tidy(scoring.output)
    check_same(scoring.output, undisturbed.output)


def test_of_two_runs_on_one_folder_the_second_is_told_who_holds_it(
    scoring: Scoring, tmp_path: Path
) -> None:
    write_rows(tmp_path / "in", 4_000, seed=6)
    scoring = replace(scoring, options=("--shard-rows", "200"))
    runs = [scoring.start(), scoring.start()]
    (first, done), (_, refused) = sorted(
        ((run, run.wait()) for run in runs), key=lambda ended: ended[1].code
    )
    assert (done.code, refused.code) == (0, 7), refused.said
    assert refused.error.startswith(f"output_dir: {scoring.output} is in use by run ")
    assert f"(process {first.process.pid} on " in refused.error
    assert len(check_whole(scoring.output).records) == scoring.summary()["shards_total"]
    check_tidy(scoring.output)
