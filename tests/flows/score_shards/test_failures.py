"""What fails fails alone and by name, and the next run makes it good."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

from flows.score_shards import score_shards
from tasks.arms.types import ScoringModel
from tasks.common.errors import OutputInUseError, ProofError, ShardsFailedError
from tasks.common.text import escape_markdown
from tasks.inputs.input_files import list_input_files
from tasks.inputs.types import InputFile, Surveyed
from tasks.output.folder import locked_folder
from tasks.scoring.task_runner import survey_in_parallel
from tasks.scoring.types import ScoringParameters
from tasks.tracking.mlflow_client import connect, ensure_experiment, has_artifact
from tasks.tracking.names import SCORING_EXPERIMENT
from tests.flows.score_shards.log_lines import on_log
from tests.support.builders import Trained
from tests.support.http_server import Reply, serving

MODEL = ScoringModel(
    uri="models:/m/1", fingerprint="f", labels=(), engine="torch", precision="f32", device="cpu"
)


def test_broken_file_fails_alone_and_the_run_after_the_others(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    broken = inputs / "part-1.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(ShardsFailedError) as raised:
        score_shards(inputs=[str(inputs)], output_dir=str(tmp_path / "out"))
    message = str(raised.value)
    assert message.startswith("1 of 3 shards failed; the first, part-1-")
    assert f"{broken}: expected a Parquet table" in message
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        (artifact, *_) = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=1)
    assert (run.state_type, run.state and run.state.message) == (StateType.FAILED, message)
    assert (artifact.key, artifact.flow_run_id) == ("failure", run.id)
    assert escape_markdown(message) in str(artifact.data)
    (logged, *_) = connect().search_runs([ensure_experiment(SCORING_EXPERIMENT)], max_results=1)
    assert logged.data.tags["output_dir"] == str(tmp_path / "out")
    assert (logged.info.status, logged.data.tags["failed_because"]) == ("FAILED", message)
    assert has_artifact(logged.info.run_id, "report.html")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    summary = manifest["summary"]
    assert (summary["shards_done"], summary["shards_failed"]) == (2, 1)
    assert summary["rows_in"] == summary["scored"] + summary["rejected"] == 20
    errors = {Path(shard["source"]).name: shard["error"] for shard in manifest["shards"]}
    assert errors.pop("part-1.parquet").startswith(f"{broken}: ")
    assert errors == {"part-0.parquet": "", "part-2.parquet": ""}
    published = {path.name[:6] for path in (tmp_path / "out").rglob("*.parquet")}
    assert published == {"part-0", "part-2"}


def test_broken_file_fails_each_run_until_it_is_moved_and_costs_no_other_row(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    broken, output = inputs / "part-1.parquet", tmp_path / "out"
    broken.write_bytes(b"PAR1")
    for night in (1, 2):
        (inputs / f"night-{night}.csv").write_text(f"text\na film of night {night}\n")
        with pytest.raises(ShardsFailedError) as raised:
            score_shards(inputs=[str(inputs)], output_dir=str(output))
        assert f"{broken}: expected a Parquet table" in str(raised.value)
        assert str(raised.value).endswith(
            "; the others are published; mend the file, or move it away, and run the same command "
            "again; until then each run that finds it fails, also that of each night"
        )
        assert list(output.glob(f"predictions/night-{night}-*.parquet"))
    broken.rename(tmp_path / "moved.parquet")
    assert score_shards([str(inputs)], str(output))["shards_failed"] == 0


def test_files_that_cannot_be_named_or_read_fail_alone_and_a_dry_run_foresees_it(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    (inputs / os.fsdecode(b"caf\xe9.csv")).write_text("text\na film\n")
    (inputs / "array.jsonl").write_text('["a film", "another"]')
    (inputs / "latin.csv").write_bytes("text,id\nun café,1\n".encode("latin-1"))
    (inputs / "loop.csv").symlink_to("loop.csv")
    (inputs / "no-keys.jsonl").write_text("{}\n{}\n")
    write_encrypted(inputs / "secret.parquet")
    dry: dict[str, Any] = {"output_dir": str(tmp_path / "out"), "dry_run": True}
    with pytest.raises(ShardsFailedError, match=r"^6 files cannot be read; the first: .*array"):
        score_shards([str(inputs)], **dry)
    told = score_shards([str(inputs)], max_failed_shards=6, **dry)
    assert (told["rows"], told["shards_to_score"], len(told["unreadable_files"])) == (30, 3, 6)
    with pytest.raises(
        ShardsFailedError, match=r"^6 of 30 rows cannot be scored; expected at most"
    ):
        score_shards([str(inputs)], max_failed_shards=6, max_rejected_fraction=0.1, **dry)

    with pytest.raises(ShardsFailedError, match=r"^6 of 9 shards failed"):
        score_shards([str(inputs)], str(tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "manifest.json").read_text())["summary"]
    assert (summary["shards_done"], summary["rows_in"]) == (3, 30)
    array, name, latin, loop, keys, secret = sorted(summary["failures"].values())
    assert "expected an object on each line, or one array of objects" in array
    assert name == f"{inputs}/caf\\xe9.csv: the file's name is not UTF-8; expected a name in UTF-8"
    assert "probably Latin-1" in latin
    assert loop == f"{inputs}/loop.csv: a link that leads back to itself; expected a file"
    assert "no-keys.jsonl: no column 'text'" in keys
    assert "secret.parquet: expected a Parquet table" in secret


class Keys(encryption.KmsClient):  # type: ignore[misc]
    """Wraps keys in nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


def write_encrypted(path: Path) -> None:
    """Write a table with a column that nobody can read without its key."""
    table = pa.table({"text": ["a film", "another"], "secret": ["x", "y"]})
    factory = encryption.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            footer_key="k", column_keys={"k": ["secret"]}, plaintext_footer=True
        ),
    )
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


def test_file_that_is_damaged_further_on_does_not_end_a_dry_run(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    path = inputs / "part-1.parquet"
    rows = pd.read_parquet(path)
    pq.write_table(pa.Table.from_pandas(rows), path, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[30] ^= 0xFF
    path.write_bytes(content)
    dry: dict[str, Any] = {"output_dir": str(tmp_path / "out"), "dry_run": True}
    told = score_shards([str(inputs)], max_failed_shards=1, **dry)
    assert list(told["unreadable_files"]) == [str(path)]
    assert told["rows"] == 20


def test_address_that_brings_nothing_fails_alone(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    with serving(b"text\na film\n") as server:
        good, bad = (f"http://{server.host}/{name}.csv?token=secret" for name in ("good", "bad"))
        server.will(Reply(status=404))  # the first to be asked for
        summary = score_shards(
            [bad, good, str(inputs)], str(tmp_path / "out"), max_failed_shards=1, workers=1
        )
    assert (summary["shards_done"], summary["shards_failed"]) == (4, 1)
    (error,) = summary["failures"].values()
    assert error == f"http://{server.host}/bad.csv: HTTP 404, expected 200"
    assert not list((trained.home / "data" / "downloads" / "scoring").iterdir())


def test_addresses_that_differ_in_their_queries_alone_are_two_files(
    trained: Trained, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with serving(b"text\na film\n") as server:
        urls = [f"http://{server.host}/export.csv?part={part}" for part in (1, 2)]
        summary = score_shards(urls, str(output))
        assert (summary["rows_in"], summary["shards_done"]) == (2, 2)
        server.will(Reply(status=404))
        score_shards([urls[0]], str(output), max_failed_shards=1, workers=1)
        score_shards([urls[1]], str(output))
    manifest = json.loads((output / "manifest.json").read_text())
    assert [failure["error"] for failure in manifest["still_failed"]] == [
        f"http://{server.host}/export.csv: HTTP 404, expected 200"
    ]


def test_a_downloaded_file_is_named_by_its_address(trained: Trained, tmp_path: Path) -> None:
    with serving(b"body\na film\n") as server:
        url = f"http://{server.host}/export.csv?token=secret"
        with pytest.raises(ShardsFailedError) as failed:
            score_shards([url], str(tmp_path / "out"))
        assert f"http://{server.host}/export.csv: no column 'text'" in str(failed.value)


def test_columns_that_arrows_data_sets_have_are_like_any_other(
    trained: Trained, tmp_path: Path
) -> None:
    names = ["__fragment_index", "__batch_index", "__filename"]
    table = pa.table({"text": ["a film"], **{name: [1] for name in names}})
    pq.write_table(table, tmp_path / "rows.parquet")
    score_shards([str(tmp_path / "rows.parquet")], str(tmp_path / "out"))
    (path,) = (tmp_path / "out" / "predictions").iterdir()
    assert pq.ParquetFile(path).read().select(table.column_names).equals(table)


def test_as_many_shards_may_fail_as_is_allowed(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "part-1.parquet").write_bytes(b"PAR1")
    summary = score_shards([str(inputs)], str(tmp_path / "out"), max_failed_shards=1)
    assert (summary["shards_done"], summary["shards_failed"]) == (2, 1)


def test_more_rejected_rows_than_allowed_fail_the_run_which_is_published_all_the_same(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with pytest.raises(ShardsFailedError) as raised:
        score_shards([str(inputs)], str(output), max_rejected_fraction=0.19)
    assert str(raised.value) == (
        "6 of 30 rows were rejected, most of them for 'validate: null'; expected at most 19.00%"
    )
    assert len(pd.read_parquet(output / "rejected")) == 6
    summary = score_shards([str(inputs)], str(output), max_rejected_fraction=0.2)
    assert summary["shards_skipped"] == 3


@flow(name="survey-listed-files")
def survey_listed(
    files: tuple[InputFile, ...], parameters: ScoringParameters
) -> tuple[Surveyed, ...]:
    return survey_in_parallel(files, parameters)


def test_file_that_comes_late_is_surveyed_again(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    parameters = ScoringParameters(model=MODEL, output_dir=tmp_path / "out")
    files = list_input_files([str(inputs)], parameters.output_dir)
    away = files[1].path.rename(tmp_path / "away")

    def bring_back() -> None:
        away.rename(files[1].path)

    with on_log("prefect.task_runs", "Retry 1/2 will start", bring_back) as retries:
        surveys = survey_listed(files, parameters)
    assert len(retries) == 1
    assert [surveyed.survey.rows for surveyed in surveys if surveyed.survey] == [10, 10, 10]


def test_many_files_are_surveyed_in_some_tasks_and_a_broken_one_fails_alone(
    trained: Trained, tmp_path: Path
) -> None:
    inputs = tmp_path / "many"
    inputs.mkdir()
    for number in range(230):
        (inputs / f"{number:03}.csv").write_text(f"text\nfilm {number}\n")
    (inputs / "123.csv").write_text("other\n1\n")
    parameters = ScoringParameters(model=MODEL, output_dir=tmp_path / "out")
    files = list_input_files([str(inputs)], parameters.output_dir)
    with on_log("prefect.task_runs", "Finished in state", lambda: None) as ended:
        surveys = survey_listed(files, parameters)
    assert [surveyed.file for surveyed in surveys] == list(files)
    assert [surveyed.file.path.name for surveyed in surveys if surveyed.error] == ["123.csv"]
    assert len(ended) == 77 + 3


def test_file_that_changes_while_it_is_scored_fails_and_the_next_run_makes_it_good(
    trained: Trained, tmp_path: Path
) -> None:
    path, output = tmp_path / "rows.csv", tmp_path / "out"
    path.write_text("text\n" + "".join(f"film {row}\n" for row in range(9_000)))

    def change() -> None:
        with path.open("a") as file:
            file.write("one more film\n")

    with on_log("tasks.staging.publishing", "rows scored", change):
        first = score_shards(
            [str(path)], str(output), shard_rows=500, workers=1, max_failed_shards=18
        )
    assert "changed while it was read" in next(iter(first["failures"].values()))
    assert first["rows_failed"] == 500 * first["shards_failed"] > 0
    assert first["rows_in"] + first["rows_failed"] == 9_000
    assert sum(first["scored_because"].values()) == first["shards_done"]
    summary = score_shards([str(path)], str(output), shard_rows=500)
    assert summary["scored"] == 9_001
    assert summary["shards_skipped"] == 0
    rows = pd.read_parquet(output / "predictions")
    assert sorted(rows["row"]) == list(range(1, 9_002))


def test_rows_that_are_lost_between_input_and_output_fail_the_proof(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def lose_a_row() -> None:
        path = next(output.glob("predictions/part-0-*"))
        pq.write_table(pq.read_table(path).slice(1), path)

    with (
        on_log("tasks.staging.publishing", "part-2", lose_a_row),
        pytest.raises(ProofError, match="has 7 rows; expected 8, as in its record"),
    ):
        score_shards([str(inputs)], str(output), workers=1)
    summary = score_shards([str(inputs)], str(output))
    assert summary["scored_because"] == {"its predictions file was altered": 1}


def test_second_run_on_a_folder_is_told_who_holds_it(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    with (
        locked_folder(tmp_path / "out", "first-run"),
        pytest.raises(OutputInUseError, match=r"in use by run first-run \(process \d+ on "),
    ):
        score_shards([str(inputs)], str(tmp_path / "out"))
    assert score_shards([str(inputs)], str(tmp_path / "out"))["shards_done"] == 3
