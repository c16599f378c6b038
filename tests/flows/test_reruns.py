"""Running again: what is left for later, what is gone, and what alone failed."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.client.schemas.objects import State

from flows.end_to_end import end_to_end
from flows.score_shards import score_shards
from tasks.common.cancellation import raise_if_stopped, stop_threads_on_error
from tasks.common.errors import DataError, OutputInUseError, ParameterError, StoppedError
from tasks.common.progress import show_progress, track_rows
from tasks.output.folder import locked_folder
from tests.support.builders import Trained

pytestmark = pytest.mark.usefixtures("prefect_harness", "trained")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two files of three rows, of an hour ago."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for name in ("one", "two"):
        write(folder, name)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(folder: Path, name: str, texts: tuple[object, ...] = ("a", "b", "c")) -> Path:
    path = folder / f"{name}.csv"
    pd.DataFrame({"text": [text and f"{name} {text}" for text in texts]}).to_csv(path, index=False)
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    return path


def score(inbox: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    summary: dict[str, Any] = score_shards([str(inbox)], str(output), **parameters)
    return summary


def published(output: Path) -> set[str]:
    """The names of the files of predictions."""
    return {path.name for path in (output / "predictions").iterdir()}


# An inbox


def test_a_file_that_changed_a_moment_ago_is_left_for_the_next_run(
    inbox: Path, output: Path
) -> None:
    fresh = write(inbox, "fresh")
    os.utime(fresh)
    first = score(inbox, output, settle_seconds=600)
    assert (first["rows_in"], first["files_settling"]) == (6, [str(fresh)])
    os.utime(fresh, (0, 0))
    second = score(inbox, output, settle_seconds=600)
    assert (second["rows_in"], second["shards_skipped"]) == (9, 2)
    assert second["files_settling"] == []


def test_files_that_are_gone_are_named_and_their_rows_stay(inbox: Path, output: Path) -> None:
    score(inbox, output)
    (inbox / "one.csv").unlink()
    summary = score(inbox, output)
    assert summary["files_removed"] == [str(inbox / "one.csv")]
    assert summary["rows_in"] == 3
    assert len(list((output / "predictions").iterdir())) == 2


def test_files_of_another_input_are_not_gone(inbox: Path, output: Path) -> None:
    score(inbox, output)
    summary = score(inbox / "one.csv", output)
    assert summary["files_removed"] == []


def test_an_empty_inbox_is_no_error_if_it_may_be_empty(
    tmp_path: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="brings no file"):
        score(empty, output)
    summary = score(empty, output, allow_empty=True)
    assert (summary["rows_in"], summary["shards_total"]) == (0, 0)
    assert "no shards: there is no row that can be read" in caplog.messages
    with pytest.raises(DataError, match="brings no file"):
        score(tmp_path / "missing", output, allow_empty=True)


def test_an_inbox_of_files_that_settle_counts_as_empty(inbox: Path, output: Path) -> None:
    for path in inbox.iterdir():
        os.utime(path)
    with pytest.raises(DataError, match="all 2 files changed in the last 600 s"):
        score(inbox, output, settle_seconds=600)
    assert score(inbox, output, settle_seconds=600, allow_empty=True)["rows_in"] == 0


# Only what failed


def test_only_failed_does_the_shards_that_failed_or_have_rejected_rows(
    inbox: Path, output: Path
) -> None:
    broken = inbox / "broken.csv"
    broken.write_text("no column\n1\n")
    write(inbox, "rejects", ("a", None))
    score(inbox, output, max_failed_shards=1)
    write(inbox, "new")
    broken.unlink()
    write(inbox, "broken")

    told = score(inbox, output, only_failed=True, dry_run=True)
    assert (told["shards_to_score"], told["shards_to_skip"]) == (2, 2)
    assert told["left_because"] == {"new": 1}
    summary = score(inbox, output, only_failed=True)
    assert summary["scored_because"] == {"it failed before": 1, "it has rejected rows": 1}
    assert summary["left_because"] == {"new": 1}
    assert (summary["shards_left"], summary["shards_skipped"]) == (1, 2)
    assert summary["rows_in"] == summary["scored"] + summary["rejected"] == 3 + 3 + 2 + 3
    assert score(inbox, output)["scored_because"] == {"new": 1}


def test_only_failed_leaves_what_another_parameter_would_redo_and_says_so(
    inbox: Path, output: Path
) -> None:
    score(inbox, output)
    summary = score(inbox, output, only_failed=True, language_policy="flag", languages=["en"])
    assert summary["left_because"] == {"the parameters changed": 2}
    assert summary["rows_in"] == 0
    again = score(inbox, output, language_policy="flag", languages=["en"])
    assert again["scored_because"] == {"the parameters changed": 2}


def test_only_failed_keeps_the_rows_of_a_file_that_is_cut_otherwise(
    inbox: Path, output: Path
) -> None:
    score(inbox, output, shard_rows=1)
    before = published(output)
    assert len(before) == 6
    summary = score(inbox, output, only_failed=True, shard_rows=3)
    assert summary["left_because"] == {"the row range changed": 2}
    assert published(output) == before
    write(inbox, "one", ("a",))
    summary = score(inbox, output, only_failed=True, shard_rows=1)
    assert (summary["shards_left"], summary["shards_skipped"]) == (1, 3)
    assert published(output) == before
    score(inbox, output, shard_rows=3)
    assert len(published(output)) == 2


def test_only_failed_scores_no_part_of_a_file_that_is_cut_otherwise(
    inbox: Path, output: Path
) -> None:
    (inbox / "two.csv").unlink()
    write(inbox, "one", ("a", None, "c", None))
    score(inbox, output, shard_rows=1)
    before = published(output)
    summary = score(inbox, output, only_failed=True, shard_rows=2)
    assert summary["left_because"] == {"the row range changed": 2}
    assert published(output) == before


def test_a_failure_that_a_run_did_not_come_to_is_one_for_the_next(
    inbox: Path, output: Path
) -> None:
    broken = inbox / "broken.csv"
    broken.write_text("no column\n1\n")
    score(inbox, output, max_failed_shards=1)
    write(inbox, "broken")
    os.utime(broken)
    assert score(inbox, output, settle_seconds=600)["files_settling"] == [str(broken)]
    score(inbox, output, settle_seconds=600, only_failed=True)
    assert score(inbox, output, only_failed=True)["scored_because"] == {"it failed before": 1}
    assert score(inbox, output, only_failed=True)["scored_because"] == {}


def test_a_failure_of_a_file_that_is_gone_is_forgotten(inbox: Path, output: Path) -> None:
    broken = inbox / "broken.csv"
    broken.write_text("no column\n1\n")
    score(inbox, output, max_failed_shards=1)
    one = inbox / "one.csv"
    assert still_failed_after(one, output) == [str(broken)]
    broken.unlink()
    assert still_failed_after(one, output) == []


def still_failed_after(inputs: Path, output: Path) -> list[str]:
    score(inputs, output)
    manifest = json.loads((output / "manifest.json").read_text())
    return [failure["source"] for failure in manifest["still_failed"]]


def test_what_a_run_that_died_did_not_do_counts_as_failed(inbox: Path, output: Path) -> None:
    score(inbox, output)
    (output / "manifest.json").unlink()
    next((output / "records").glob("two-*")).unlink()
    summary = score(inbox, output, only_failed=True)
    assert summary["scored_because"] == {"it was not done before": 1}
    assert (summary["shards_skipped"], summary["rows_in"]) == (1, 6)


def test_only_failed_needs_an_earlier_run(inbox: Path, output: Path) -> None:
    with pytest.raises(ParameterError, match=f"only_failed: {output} has neither a manifest nor"):
        score(inbox, output, only_failed=True)
    with pytest.raises(ParameterError, match="expected resume as well"):
        score(inbox, output, only_failed=True, resume=False)


def test_only_failed_needs_a_manifest_that_can_be_read(inbox: Path, output: Path) -> None:
    score(inbox, output)
    (output / "manifest.json").write_text("[")
    with pytest.raises(ParameterError, match=r"only_failed: .*manifest.json cannot be read; exp"):
        score(inbox, output, only_failed=True)
    assert score(inbox, output)["shards_skipped"] == 2


# Versions


@pytest.mark.parametrize(
    "version",
    [
        "champion",
        "1",
        "models:/inference_pipeline_model/1",
        "models:/inference_pipeline_model@champion",
    ],
)
def test_a_version_is_given_by_alias_number_or_uri(
    inbox: Path, output: Path, trained: Trained, version: str
) -> None:
    summary = score(inbox, output, model_uri=version)
    assert summary["model_uri"] == trained.pipeline["inference_pipeline_model"]


# One at a time


def test_the_run_that_loses_an_output_folder_is_cancelled(inbox: Path, output: Path) -> None:
    with locked_folder(output, "another"):
        lost: State[Any] = score_shards([str(inbox)], str(output), return_state=True)
        assert lost.is_cancelled()
        assert "is in use by run another" in str(lost.message)
        with pytest.raises(OutputInUseError):
            score(inbox, output)
        whole: State[Any] = end_to_end(
            steps=["score"], inputs=[str(inbox)], output_dir=str(output), return_state=True
        )
        assert whole.is_cancelled()


# Told to end


def test_threads_of_a_block_that_is_left_early_are_told(inbox: Path) -> None:
    waiting = threading.Event()

    def work() -> str:
        waiting.set()
        try:
            for _ in range(1_000):
                raise_if_stopped()
                time.sleep(0.01)
        except StoppedError:
            return "stopped"
        return "ran to its end"

    with ThreadPoolExecutor() as pool, suppress(KeyboardInterrupt), stop_threads_on_error():
        future = pool.submit(copy_context().run, work)
        waiting.wait()
        raise KeyboardInterrupt
    assert future.result() == "stopped"
    raise_if_stopped()  # outside of such a block nothing is told


def test_rows_of_a_shard_count_when_they_are_done_and_not_when_it_fails() -> None:
    with show_progress("scoring", 10) as progress:
        with track_rows(6) as count:
            count(2)
            assert progress.percent == 20
        assert progress.percent == 60
        with suppress(ValueError), track_rows(4) as count:
            count(3)
            raise ValueError
        assert progress.percent == 60
    assert str(progress).startswith("6 of 10 rows, ")
