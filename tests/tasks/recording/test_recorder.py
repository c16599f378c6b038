"""Answered requests are recorded in whole files, or counted as dropped."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tasks.arms.assignment import is_sampled
from tasks.common.errors import OutputError, ParameterError
from tasks.common.files import sha256_of
from tasks.common.settings import REPOSITORY
from tasks.output.file_ids import is_shard_id, recorded_ids
from tasks.output.records import (
    PREDICTION_COLUMNS,
    REJECTED_COLUMNS,
    read_record,
    read_records,
    write_record,
)
from tasks.recording import recorder as recording
from tasks.recording.recorded_shard import complete_interrupted, write_recorded
from tasks.recording.recorder import Recorder
from tasks.recording.types import RecordOptions
from tests.support.deliveries import record_of, shard_id
from tests.support.recorded import MODEL, NOON, answered

FAR = 3_600.0


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    """Record into `tmp_path / "online"`; what is not closed is closed at the end."""
    opened = []

    def opened_recorder(**options: Any) -> Recorder:
        settings = {"seconds_per_file": FAR} | options
        opened.append(Recorder(tmp_path / "online", RecordOptions(**settings)))
        return opened[-1]

    yield opened_recorder
    for recorder in opened:
        recorder.close()


def tables(folder: Path, part: str = "predictions") -> list[pd.DataFrame]:
    return [pd.read_parquet(path) for path in sorted((folder / part).glob("*.parquet"))]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_rows_have_the_columns_of_scoring_and_those_of_the_request(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = record()
    recorder.add(
        answered(["a great film", "", "a film"], {"id": [1, 2, 3], "kind": ["a", "b", ""]})
    )
    later = NOON + timedelta(seconds=2)
    recorder.add(answered(["another"], {"id": [4]}, when=later))
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (4, 0)
    (name,) = recorded_ids(tmp_path / "online")
    assert name.startswith("online-20261130T120000.000000Z-")
    assert name.endswith("-v7")
    (predictions,), (rejected,) = (
        tables(tmp_path / "online", part) for part in ("predictions", "rejected")
    )
    own = ["text", "id", "kind", "answered_at", "text_sha256"]
    assert list(predictions) == [*own, *PREDICTION_COLUMNS]
    assert list(rejected) == [*own, *REJECTED_COLUMNS]
    assert predictions["row"].tolist() == [1, 3, 4]
    assert predictions["id"].tolist() == [1, 3, 4]
    assert predictions["text_sha256"].tolist() == list(
        map(sha256, ["a great film", "a film", "another"])
    )
    assert predictions["answered_at"].tolist() == [NOON, NOON, later]
    assert predictions["prediction_label"].tolist() == ["positive", "negative", "negative"]
    assert set(predictions["shard"]) == {name}
    assert rejected[["row", "step", "reason"]].values.tolist() == [[2, "language", "empty"]]
    (found,) = read_records(tmp_path / "online")
    assert found.model_uri == MODEL.uri
    assert (
        found.counts.model_dump() | {"rows_in": 4, "scored": 3, "rejected": 1}
        == found.counts.model_dump()
    )
    assert found.labels == {"negative": 2, "positive": 1}
    assert found.reasons == {"language: empty": 1}
    assert (found.started, found.seconds) == (NOON, 2.0)


def test_without_text_no_file_has_it_and_digests_join(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = record(with_text=False)
    recorder.add(answered(["a secret", "", 7], {"id": [1, 2, 3]}))
    recorder.close()
    (predictions,), (rejected,) = (
        tables(tmp_path / "online", part) for part in ("predictions", "rejected")
    )
    assert predictions["text"].isna().all()
    assert predictions["text_sha256"].tolist() == [sha256("a secret")]
    assert rejected["raw"].tolist() == [None, None]
    for path in (tmp_path / "online").rglob("*.*"):
        assert path.is_dir() or b"a secret" not in path.read_bytes()


def test_what_a_column_of_texts_cannot_hold_is_kept_as_bytes(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = record()
    odd = {"n": [np.int64(1), float("nan"), None], "m": ["\ud800", 2, {"a": [1]}]}
    odd |= {"when": [NOON, None, NOON], "huge": [2**70, 1, 2]}
    recorder.add(answered([7, ["a"], None], odd))
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (3, 0)
    (rejected,) = tables(tmp_path / "online", "rejected")
    assert rejected["raw"].tolist() == [b"7", b'["a"]', None]
    assert rejected["text"].isna().all()
    assert rejected["n"].fillna(0).tolist() == [1, 0, 0]
    assert rejected["m"].tolist() == ["\\ud800", "2", '{"a": [1]}']
    assert rejected["when"][0] == NOON
    assert rejected["huge"].tolist() == [str(2**70), "1", "2"]


def test_a_file_is_written_when_it_is_full_or_old_and_has_one_version(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = record(rows_per_file=3)
    other = MODEL.model_copy(update={"uri": "models:/inference_pipeline_model/8"})
    recorder.add(answered(["one", "two"]))
    recorder.add(answered(["other"], model=other))
    recorder.add(answered(["three", "four"]))
    wait_for(lambda: recorder.recorded == 4)
    assert len(recorded_ids(tmp_path / "online")) == 1
    recorder.close()
    found = {r.model_uri: r.shard.rows for r in read_records(tmp_path / "online")}
    assert found == {MODEL.uri: 4, other.uri: 1}
    soon = record(seconds_per_file=0.05)
    soon.add(answered(["late"]))
    wait_for(lambda: soon.recorded == 1)


def test_equal_texts_are_all_in_or_all_out(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record(fraction=0.3)
    texts = [f"film {number % 100}" for number in range(300)]
    recorder.add(answered(texts, {"n": list(range(300))}))
    recorder.close()
    (found,) = tables(tmp_path / "online")
    expected = [n for n, text in enumerate(texts) if is_sampled(text, 0.3)]
    assert 30 < len(expected) < 200
    assert found["n"].tolist() == expected
    assert found["text"].tolist() == [texts[n] for n in expected]
    assert (recorder.recorded, recorder.dropped) == (len(expected), 0)


def test_a_full_buffer_drops_and_counts_and_nobody_waits(
    record: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        may_write.wait()
        return write_recorded(*arguments, **options)

    monkeypatch.setattr("tasks.recording.recorder.write_recorded", slow)
    recorder = record(rows_per_file=10)
    started = time.monotonic()
    for _ in range(20):
        recorder.add(answered([f"row {n}" for n in range(5)]))
    recorder.add(answered(["x" * 2**27]))
    assert time.monotonic() - started < 5
    assert recorder.dropped == 51
    may_write.set()
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (50, 51)


def test_many_threads_lose_nothing(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record(rows_per_file=50, seconds_per_file=0.01)
    with ThreadPoolExecutor(8) as threads:
        for number in range(400):
            threads.submit(recorder.add, answered([f"film {number}"], {"n": [number]}))
    recorder.close()
    recorder.add(answered(["too late"]))
    assert (recorder.recorded + recorder.dropped, recorder.recorded >= 250) == (401, True)
    found = sorted(n for table in tables(tmp_path / "online") for n in table["n"])
    assert len(set(found)) == len(found) == recorder.recorded


def test_a_request_that_cannot_be_recorded_is_counted_and_named_without_its_text(
    record: Callable[..., Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = record()
    recorder.add(answered(["secret"], {"row": [1], "text_sha256": [2]}))
    recorder.add(answered(["secret"], {"id": [1, 2]}))
    recorder.add(answered(["fine"]))
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (1, 2)
    assert "the columns ['row', 'text_sha256'] are reserved; expected other names" in caplog.text
    assert "a column has not as many values as there are texts" in caplog.text
    assert "secret" not in caplog.text


def test_a_folder_that_cannot_be_written_for_a_while_loses_nothing(
    record: Callable[..., Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_RETRY_SECONDS", 0.05)
    (tmp_path / "online").mkdir()
    (tmp_path / "online" / "records").write_text("a file in its place")
    recorder = record(rows_per_file=1)
    recorder.add(answered(["one"]))
    time.sleep(0.3)
    assert (recorder.recorded, recorder.dropped) == (0, 0)
    (tmp_path / "online" / "records").unlink()
    wait_for(lambda: recorder.recorded == 1)
    shutil.rmtree(tmp_path / "online")
    (tmp_path / "online").write_text("a file in its place")
    recorder.add(answered(["two"]))
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (1, 1)


def test_drafts_that_a_clean_up_removes_are_written_again(
    record: Callable[..., Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_RETRY_SECONDS", 0.05)
    removed: list[Path] = []

    def digest(path: Path) -> str:
        if not removed:
            removed.extend((tmp_path / "online").rglob("*.draft"))
            for draft in removed:
                draft.unlink()
        return sha256_of(path)

    monkeypatch.setattr("tasks.recording.recorded_shard.sha256_of", digest)
    recorder = record(rows_per_file=1)
    recorder.add(answered(["one"]))
    wait_for(lambda: recorder.recorded == 1)
    assert len(removed) == 1
    assert (recorder.dropped, len(recorded_ids(tmp_path / "online"))) == (0, 1)


def test_a_shard_that_another_server_published_meanwhile_is_there_once(
    record: Callable[..., Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace = tmp_path / "online", Path.replace

    def after_another(path: Path, target: Path) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            complete_interrupted(folder, idle_seconds=0)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", after_another)
    recorder = record()
    recorder.add(answered(["one"]))
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (1, 0)
    (found,) = tables(folder)
    assert found["text"].tolist() == ["one"]
    assert len(recorded_ids(folder)) == 1


def test_tables_whose_record_cannot_get_its_name_are_removed(
    record: Callable[..., Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    recorder = record()
    recorder.add(answered(["one"]))
    monkeypatch.setattr(Path, "replace", failing)
    recorder.close()
    assert (recorder.recorded, recorder.dropped) == (0, 1)
    assert [path for path in (tmp_path / "online").rglob("*") if path.is_file()] == []


def test_a_folder_of_a_scoring_or_without_permission_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, record_of(shard_id(), 1, {}))
    with pytest.raises(ParameterError, match=f"^record: {tmp_path} has the output of a scoring; "):
        Recorder(tmp_path)
    with pytest.raises(OutputError, match=r"^record: /proc cannot be written"):
        Recorder(Path("/proc/online"))


SERVER = """
import itertools, sys
from pathlib import Path
from tasks.recording.recorder import Recorder
from tasks.recording.types import RecordOptions
from tests.support.recorded import answered

recorder = Recorder(Path(sys.argv[1]), RecordOptions(rows_per_file=20, seconds_per_file=0.01))
for number in itertools.count():
    recorder.add(answered([f"film {number}"], {"n": [number]}))
    if number == 50:
        print("ready", flush=True)
"""


def test_servers_that_are_killed_leave_whole_files_and_drafts(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    folder = tmp_path / "online"
    for kill in range(3):
        servers = [
            subprocess.Popen(
                [sys.executable, "-c", SERVER, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for server in servers:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        time.sleep(0.1 + 0.13 * kill)
        for server in servers:
            os.kill(server.pid, signal.SIGKILL)
            server.communicate()
    names = recorded_ids(folder)
    assert len(names) > 6
    for name in names:
        found = read_record(folder, name)
        assert found is not None
        for part in ("predictions", "rejected"):
            path = folder / part / f"{name}.parquet"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == found.files[part]
        assert (
            pq.read_metadata(folder / "predictions" / f"{name}.parquet").num_rows
            == found.shard.rows
        )
    left = [path.name for path in folder.rglob("*") if path.is_file() and path.stem not in names]
    assert all(name.endswith(".draft") or name.startswith("online-") for name in left)
    assert not any(map(is_shard_id, names))


KILLED_SERVER = """
import os, signal, sys
from pathlib import Path
from tasks.recording.recorder import Recorder
from tests.support.recorded import answered

renamed, replace = [], Path.replace

def killed(path, target):
    if len(renamed) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    renamed.append(path)
    return replace(path, target)

Path.replace = killed
recorder = Recorder(Path(sys.argv[1]))
recorder.add(answered(["one", "", "three"]))
recorder.close()
"""


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_what_a_killed_server_had_written_is_published_by_the_next(
    record: Callable[..., Recorder], tmp_path: Path, renamed: int
) -> None:
    folder = tmp_path / "online"
    command = [sys.executable, "-c", KILLED_SERVER, str(folder), str(renamed)]
    assert subprocess.run(command, cwd=REPOSITORY).returncode == -signal.SIGKILL
    assert recorded_ids(folder) == []
    recorder = record(rows_per_file=1)
    recorder.add(answered(["later"]))
    wait_for(lambda: recorder.recorded == 1)
    assert len(recorded_ids(folder)) == 1  # the other server may be alive
    (draft,) = (folder / "records").glob(".*.draft")
    os.utime(draft, (0, 0))
    recorder.add(answered(["last"]))
    wait_for(lambda: recorder.recorded == 2)
    assert len(recorded_ids(folder)) == 3
    assert sorted(text for table in tables(folder) for text in table["text"]) == [
        "last",
        "later",
        "one",
        "three",
    ]
    assert list(folder.rglob("*.draft")) == []


def test_what_is_no_whole_shard_is_left_for_a_clean_up(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    draft = tmp_path / "online" / "records" / ".online-x.json.1-0a0a0a0a.draft"
    draft.parent.mkdir(parents=True)
    draft.write_text("{")
    other = draft.with_name(".online-y.json.1-0a0a0a0a.draft")
    elsewhere = record_of("../online-y", 1, {})
    other.write_text(elsewhere.model_dump_json())
    folder = draft.with_name(".online-z.draft")
    folder.mkdir()
    for path in (draft, other, folder):
        os.utime(path, (0, 0))
    recorder = record()
    recorder.add(answered(["one"]))
    recorder.close()
    assert recorder.recorded == 1
    assert all(path.exists() for path in (draft, other, folder))
