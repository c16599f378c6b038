"""Lineage of an output row: its prediction, model versions, code commits, training and data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from mlflow.entities.model_registry import ModelVersion
from prefect.runtime import deployment

from tasks.arms.assignment import assign_arms
from tasks.building.build_records import read_member_labels
from tasks.common.console import print_table
from tasks.common.errors import DataError, ParameterError
from tasks.common.text import columns_called
from tasks.composition.decision_path import describe_path
from tasks.composition.known_answers import Decided
from tasks.lineage.business import business_fields, replay_rules
from tasks.lineage.verification import pipeline_version, verify_prediction
from tasks.output.file_ids import is_recorded_id
from tasks.output.records import (
    ANSWERED_COLUMN,
    DECIDER_COLUMN,
    FOLDERS,
    MEMBERS_COLUMN,
    PREDICTION_COLUMNS,
    REJECTED_COLUMNS,
    SCORES_COLUMN,
    ArmRecord,
    ShardRecord,
    read_record,
    table_path,
)
from tasks.output.row_parameters import RowParameters
from tasks.output.tables import extract_texts
from tasks.output.traffic_split import ARMS
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import RegisteredModel, version_uri
from tasks.tracking.pipeline_members import tree_of
from tasks.tracking.registry import get_version

_ROW_CONTENT = ("text", "raw")


def trace_row(output_dir: Path, shard_id: str, row: int, *, verify: bool) -> dict[str, Any]:
    """Print and return the lineage of a row: its prediction, model versions, training and data.

    Of a composed pipeline, `path` has the way of the row through its tree, and `members` what each
    member that saw the text predicted, with its training, data and code.

    In a deployment, whose output is logged, the row's text and bytes, its keys and what was looked
    up are not printed.

    Args:
        output_dir: Folder of an output.
        shard_id: Name of a shard.
        row: Number of the row in its file, counted from 1.
        verify: Whether to predict the row again and compare the results.

    Raises:
        ParameterError: If there is no such shard or row, or its text is needed and not recorded.
        DataError: If the shard's record is damaged.
        ModelError: If the row's version is gone, or its prediction differs now.
    """
    record = _load_record(output_dir, shard_id)
    folder, values = _load_row(output_dir, record, row)
    business = (*record.parameters.business_columns, *record.parameters.added_columns)
    chain = {
        "shard": shard_id,
        "row": row,
        "text": values.get(record.parameters.text_column),
        "input_file": record.shard.source,
        "input_sha256": record.shard.sha256,
    }
    if is_recorded_id(shard_id):
        chain[ANSWERED_COLUMN] = values[ANSWERED_COLUMN].isoformat()
    if folder == "rejected":
        chain |= {"rejected_by": values["step"], "reason": values["reason"]}
        raw = values["raw"]
        chain |= {"line": values["line"], "raw": raw and raw.decode(errors="backslashreplace")}
        chain |= {name: values[name] for name in business if name in values}
        chain |= _scoring_fields(record, values)
    else:
        chain |= {name: values[name] for name in PREDICTION_COLUMNS}
        chain |= {name: values[name] for name in business}
        if SCORES_COLUMN in values:
            chain[SCORES_COLUMN] = dict(values[SCORES_COLUMN])
        chain |= _scoring_fields(record, values) | _model_lineage(values)
        if verify:
            chain |= _verify(chain, record.parameters)
    shown = _with_rows_of_members(chain)
    quoted = {*_ROW_CONTENT, *record.parameters.business_columns}
    quoted |= {name for name in record.parameters.added_columns if name.startswith("lookup_")}
    logged = {name: value for name, value in shown.items() if name not in quoted}
    print_table("One row", logged if deployment.id else shown)
    return chain


def _verify(chain: Mapping[str, Any], parameters: RowParameters) -> dict[str, str]:
    text, report = chain["text"], dict[str, str]()
    if text is None:  # of an answered row, it was there once
        raise ParameterError(
            f"verify: {chain['shard']} row {chain['row']}: was recorded without its text; expected "
            "a row with a text"
        )
    if chain.get("rules_digest"):
        text, report = replay_rules(chain, parameters, text)
    return verify_prediction(chain, text) | report


def _with_rows_of_members(chain: Mapping[str, Any]) -> dict[str, Any]:
    """Give each member a row of its own, in place of a cell with all of them."""
    rows = {f"member {member['name']}": member for member in chain.get("members", ())}
    return {name: value for name, value in chain.items() if name != "members"} | rows


def _load_record(output_dir: Path, shard_id: str) -> ShardRecord:
    try:
        # A shard's name is never a path.
        record = read_record(output_dir, shard_id) if Path(shard_id).name == shard_id else None
    except ValueError as error:
        raise DataError(str(error)) from error
    if record is None:
        known = sorted(path.stem for path in (output_dir / "records").glob("*.json"))
        examples = f"one of {len(known)}, such as {known[0]}" if known else "an output folder"
        raise ParameterError(f"shard: {shard_id!r} is not in {output_dir}; expected {examples}")
    return record


def _load_row(output_dir: Path, record: ShardRecord, row: int) -> tuple[str, dict[str, Any]]:
    for folder in FOLDERS:
        path = table_path(output_dir, folder, record.shard.id)
        # Not `read_table`, which adds columns for folders that are named like `key=value`.
        table = pyarrow.parquet.ParquetFile(path).read()
        place = table["row"].index(row).as_py()
        if place >= 0:
            found = table.slice(place, 1)
            values = _contract_fields(found, record.parameters.text_column)
            values |= business_fields(found, record.parameters)
            return folder, values | _arm_field(found, record)
    last = record.shard.first_row + record.shard.rows - 1
    raise ParameterError(
        f"row: {row} is not in {record.shard.id}; expected {record.shard.first_row} to {last}"
    )


def _contract_fields(row: pa.Table, text_column: str) -> dict[str, Any]:
    """Return the text of a row and the columns that every output has, or recorded requests."""
    names = [
        ANSWERED_COLUMN,
        *PREDICTION_COLUMNS,
        SCORES_COLUMN,
        DECIDER_COLUMN,
        MEMBERS_COLUMN,
        *REJECTED_COLUMNS,
    ]
    own = row.select([name for name in row.column_names if name in names])
    is_there = columns_called(row.column_names, text_column)
    text = extract_texts(row, text_column)[0] if is_there else None
    shown = text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text
    return {text_column: shown, **own.to_pylist()[0]}


def _arm_field(row: pa.Table, record: ShardRecord) -> dict[str, str]:
    """Return the arm of a row of a split; a line that could not be parsed is in none."""
    is_unread = "step" in row.column_names and row["step"][0].as_py() == "read"
    if record.parameters.traffic is None or is_unread:
        return {}
    (number,) = assign_arms(row, record.parameters).arms
    return {"arm": ARMS[number]}


def _scoring_fields(record: ShardRecord, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked and when; of a split, the arm of the row, if it is in one."""
    name = values.get("arm")
    asked: dict[str, Any] = {}
    if name or not record.arms:
        version: ShardRecord | ArmRecord = record.arms[name] if name else record
        asked = {
            "asked_version": version.model_uri,
            "pipeline_fingerprint": version.fingerprint,
            **({"rules_digest": version.rules_digest} if version.rules_digest else {}),
            "engine": version.engine,
            "precision": version.precision,
        }
    return {
        **({"arm": name} if name else {}),
        **asked,
        "scored_at": record.started.isoformat(timespec="seconds"),
        "scored_on": record.host,
        "prefect_flow_run": record.flow_run_id,
    }


def _model_lineage(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline version of a prediction, and the training and data of its members."""
    pipeline = pipeline_version(values["inference_pipeline_model_uri"])
    lineage = {
        "computed_by_version": version_uri(pipeline.name, pipeline.version),
        "pipeline_code_commit": pipeline.tags.get("git_commit"),
        **_training_lineage(values["finetuned_model_uri"]),
    }
    if members := values.get(MEMBERS_COLUMN):
        lineage[DECIDER_COLUMN] = values[DECIDER_COLUMN]
        lineage["path"] = _describe_path(pipeline, values)
        lineage["members"] = [member | _training_lineage(member["uri"]) for member in members]
    return lineage


def _describe_path(pipeline: ModelVersion, values: Mapping[str, Any]) -> str:
    path = describe_path(
        tree_of(pipeline),
        Decided(
            label=values["prediction_label"],
            score=values["prediction_score"],
            decided_by=values[DECIDER_COLUMN],
            members={m["name"]: (m["label"], m["score"]) for m in values[MEMBERS_COLUMN]},
            language=values["language_detected"],
            labels=read_member_labels(pipeline),
        ),
    )
    return path or f"none that version {pipeline.version} can take with these answers of members"


def _training_lineage(finetuned_model_uri: str) -> dict[str, Any]:
    origin = RegisteredModel.from_uri(finetuned_model_uri)
    finetuned = get_version(origin.name, origin.version)
    training = connect().get_run(str(finetuned.run_id))
    return {
        "training_run": training.info.run_id,
        "training_code_commit": training.data.tags.get("git_commit"),
        "data_source": training.data.params.get("source"),
        "data_digest": training.data.tags.get("data_digest"),
    }
