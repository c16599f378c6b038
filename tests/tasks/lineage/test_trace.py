import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.explain_prediction import explain_prediction
from flows.score_shards import score_shards
from tasks.common.errors import DataError, ModelError, ParameterError
from tasks.common.files import sha256_of
from tasks.lineage.trace import trace_row
from tasks.output.records import read_records
from tasks.reports.prefect_tasks import explain_row
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import SCORING_EXPERIMENT
from tests.support.builders import COMPOSITION, Composed, Trained, use_home
from tests.support.pages import PageReader

SECRET = "the-text-of-a-row"


@pytest.fixture(scope="module")
def _output_once(_trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    texts = [f"{SECRET} {folder} {row % 7}" for row in range(8)]
    lines = [json.dumps({"id": row, "text": text}) for row, text in enumerate(texts)]
    (folder / "rows.jsonl").write_text("\n".join([*lines, '{"broken']))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(_trained_once.home, monkeypatch)
        score_shards([str(folder / "rows.jsonl")], str(folder / "out"), shard_rows=5)
    return folder / "out"


@pytest.fixture
def output(trained: Trained, _output_once: Path) -> Path:
    """Eight scored rows in two shards, of which the last is a repeat, and a broken line.

    Tests share it.
    """
    return _output_once


@pytest.fixture
def output_copy(output: Path, tmp_path: Path) -> Path:
    """The same for one test alone, to be changed."""
    return shutil.copytree(output, tmp_path / "out")


def shards(output: Path) -> list[str]:
    return sorted(path.stem for path in (output / "records").iterdir())


@pytest.mark.parametrize("row", [2, 8])
def test_answered_row_is_traced_to_code_weights_and_data(
    trained: Trained, output: Path, row: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = shards(output)[row > 5]
    chain = explain_prediction(str(output), shard, row, verify=True)
    predictions = pd.read_parquet(output / "predictions").set_index("row").loc[row]
    source = output.parent / "rows.jsonl"
    expected: dict[str, Any] = {
        "shard": shard,
        "row": row,
        "text": predictions["text"],
        "prediction_label": predictions["prediction_label"],
        "prediction_score": predictions["prediction_score"],
        "language_detected": predictions["language_detected"],
        "cached": predictions["cached"],
        "input_file": str(source),
        "input_sha256": sha256_of(source),
        "inference_pipeline_model_uri": predictions["inference_pipeline_model_uri"],
        "asked_version": trained.pipeline["inference_pipeline_model"],
        "computed_by_version": trained.pipeline["inference_pipeline_model"],
        "finetuned_model_uri": trained.training["finetuned_model"],
        "engine": "openvino",
        "precision": "f32",
        "training_run": trained.training["finetuned_run_id"],
    }
    assert chain.items() >= expected.items()
    split = json.loads((Path(trained.training["split_folder"]) / "split.json").read_text())
    assert chain["data_digest"] == split["digest"]
    assert len(chain["pipeline_code_commit"].removesuffix("-dirty")) == 40
    assert chain["verified"].startswith("same label, scores within ")
    shown = "".join(capsys.readouterr().out.split())
    for value in (chain["data_digest"], chain["training_run"], chain["input_sha256"]):
        assert value[:40] in shown.replace("│", "")


def test_rejected_row_is_traced_to_its_line_and_reason(output: Path) -> None:
    chain = trace_row(output, shards(output)[1], 9, verify=True)
    assert (chain["rejected_by"], chain["line"]) == ("read", 9)
    assert chain["raw"] == '{"broken'
    assert chain["text"] is None
    assert "prediction_label" not in chain


def test_row_whose_text_is_not_utf8_is_shown_with_its_bytes(
    trained: Trained, tmp_path: Path
) -> None:
    texts = pa.array([b"a film \xff"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet")
    score_shards([str(tmp_path / "rows.parquet")], str(tmp_path / "out"))
    chain = trace_row(tmp_path / "out", shards(tmp_path / "out")[0], 1, verify=False)
    assert chain["reason"] == "not encodable as UTF-8"
    assert chain["text"] == "a film \\udcff"


def test_answer_that_its_version_does_not_give_is_found(output_copy: Path) -> None:
    path = next(output_copy.glob("predictions/*-00001.parquet"))
    table = pd.read_parquet(path)
    table["prediction_score"] += 0.01
    table.to_parquet(path)
    with pytest.raises(ModelError, match=r"row 2: models:/m-\w+ answers \w+ 0\.\d+ now; expected"):
        trace_row(output_copy, shards(output_copy)[0], 2, verify=True)


def test_missing_shard_or_row_is_named(output: Path) -> None:
    first = shards(output)[0]
    with pytest.raises(ParameterError, match=f"shard: 'none' is not in {output}; expected one of"):
        trace_row(output, "none", 1, verify=False)
    with pytest.raises(ParameterError, match=f"row: 6 is not in {first}; expected 1 to 5"):
        trace_row(output, first, 6, verify=False)
    with pytest.raises(ParameterError, match="expected an output folder"):
        trace_row(output / "predictions", first, 1, verify=False)


def test_shard_id_that_leads_elsewhere_is_refused(output_copy: Path) -> None:
    (output_copy.parent / "secret.json").write_text("{}")
    with pytest.raises(ParameterError, match=r"shard: '\.\./\.\./secret'"):
        trace_row(output_copy, "../../secret", 1, verify=False)


def test_damaged_record_is_named(output_copy: Path) -> None:
    path = output_copy / "records" / f"{shards(output_copy)[0]}.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=f"{path}: expected the record of a shard"):
        trace_row(output_copy, path.stem, 1, verify=False)


def test_no_text_is_logged(
    trained: Trained, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    explain_prediction(str(output), shards(output)[0], 2, verify=True)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("row", [2, 9])
def test_a_deployment_logs_the_chain_without_the_text(
    output: Path,
    row: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shard = shards(output)[row > 5]
    trace_row(output, shard, row, verify=False)
    content = SECRET if row == 2 else '{"broken'
    assert content in capsys.readouterr().out
    # How Prefect lets tests say what the deployment is.
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))
    caplog.set_level("INFO")
    chain = trace_row(output, shard, row, verify=False)
    assert capsys.readouterr().out == ""
    assert chain["input_sha256"] in caplog.text
    assert content not in caplog.text
    assert "broken" not in caplog.text


# Composed pipelines

MIXED = ["a great film", "great", "an awful film"]


@pytest.fixture(scope="module")
def composed_output(_composed_once: Composed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scored rows of a composed pipeline."""
    folder = tmp_path_factory.mktemp("composed-output")
    pd.DataFrame({"text": [*MIXED, ""]}).to_csv(folder / "rows.csv", index=False)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(_composed_once.home, monkeypatch)
        score_shards([str(folder / "rows.csv")], str(folder / "out"))
    return folder / "out"


def test_rows_of_a_composed_pipeline_are_traced_through_its_tree(
    composed: Composed,
    composed_output: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answering = set()
    for row in range(1, len(MIXED) + 1):
        chain = trace_row(composed_output, shards(composed_output)[0], row, verify=True)
        seen = {m["name"]: (m["label"], m["score"]) for m in chain["members"]}
        kind, quick = seen["kind"], seen["quick"]
        steps = [f"route by kind ({kind[0]} {kind[1]:.2f})"]
        if kind[0] == "negative":
            parts = {"quick": 1, "film": 3}
            shown_parts = (
                f"{name} ({seen[name][0]} {seen[name][1]:.2f}, weight {weight})"
                for name, weight in parts.items()
            )
            steps.append(f"average of {', '.join(shown_parts)}")
        elif quick[1] < COMPOSITION["to"]["positive"]["least"]:
            steps += [f"quick ({quick[0]} {quick[1]:.2f}, below 0.97)", "film"]
        else:
            steps.append("quick (0.97 or more)")
        answering.add(steps[-1].split(" ")[0])
        answer = f"{chain['prediction_label']} {chain['prediction_score']:.2f}"
        assert chain["path"] == " → ".join([*steps, answer])
        assert chain["prediction_decided_by"] in seen
        assert chain["verified"].startswith(f"same label and {len(seen)} members, scores within ")
    assert answering == {"average", "film", "quick"}
    capsys.readouterr()
    run = connect().get_run(chain["training_run"])
    chain = trace_row(composed_output, shards(composed_output)[0], 1, verify=False)
    shown = capsys.readouterr().out
    for member in chain["members"]:
        assert member["uri"] == composed.finetuned
        assert member["training_run"] == run.info.run_id
        assert member["training_code_commit"] == run.data.tags["git_commit"]
        assert member["data_digest"] == run.data.tags["data_digest"]
        assert f"member {member['name']}" in shown


def test_row_of_a_split_has_members_where_the_version_of_its_arm_has(
    composed: Composed, tmp_path: Path
) -> None:
    texts = [f"a great film, number {row}" for row in range(20)]
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "rows.csv", index=False)
    output = tmp_path / "out"
    summary = score_shards([str(tmp_path / "rows.csv")], str(output), split="1=0.5")
    (path,) = output.glob("predictions/*.parquet")
    rows = pq.read_table(path).to_pylist()
    single = [row["row"] for row in rows if row["prediction_members"] is None]
    assert 0 < len(single) < len(rows)
    assert len(single) == summary["arms"]["challenger"]["scored"]
    (record,) = read_records(output)
    (of_control,) = {
        row["inference_pipeline_model_uri"] for row in rows if row["prediction_members"]
    }
    assert record.arms["control"].logged_uri == of_control
    decided = Counter(filter(None, (row["prediction_decided_by"] for row in rows)))
    assert summary["arms"]["control"]["decided_by"] == decided
    assert "decided_by" not in {*summary, *summary["arms"]["challenger"]}
    (run, *_) = connect().search_runs([ensure_experiment(SCORING_EXPERIMENT)], max_results=1)
    report = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    assert [cells for cells in PageReader(report).rows if cells[0] == "Decided by"] == [
        ["Decided by", "rows, control", "share, control"]
    ]
    for name, count in decided.items():
        assert run.data.metrics[f"control_rows_decided_by_{name}"] == count
    for row in (rows[single[0] - 1], next(row for row in rows if row["row"] not in single)):
        chain = trace_row(output, shards(output)[0], row["row"], verify=True)
        assert ("path" in chain) == (row["prediction_members"] is not None)


def test_member_that_answers_otherwise_than_in_the_row_is_found(
    composed: Composed, composed_output: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(composed_output, tmp_path / "out")
    (path,) = output.glob("predictions/*.parquet")
    table = pq.read_table(path)
    name = table.column_names[-1]
    rows = table[name].to_pylist()
    rows[0][0]["score"] -= 0.01
    changed = pa.array(rows, table.schema.field(name).type)
    pq.write_table(table.set_column(table.num_columns - 1, name, changed), path)
    member = re.escape(rows[0][0]["name"])
    with pytest.raises(ModelError, match=rf"row 1: models:/m-\w+, member {member}, answers \w+ 0"):
        trace_row(output, shards(output)[0], 1, verify=True)


def test_the_chain_is_not_stored() -> None:
    assert explain_prediction.persist_result is False
    assert explain_row.persist_result is False
