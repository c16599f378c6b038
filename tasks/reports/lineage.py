"""One row of an output, traced back to the code, weights and data that made its answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from prefect.runtime import deployment

from tasks.building.verification import TOLERANCE
from tasks.common.console import print_table
from tasks.common.errors import DataError, ModelError, ParameterError
from tasks.output.records import (
    FOLDERS,
    PREDICTION_COLUMNS,
    REJECTED_COLUMNS,
    ShardRecord,
    read_record,
    table_path,
)
from tasks.output.tables import extract_texts
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tasks.tracking.pipeline_loader import load_pipeline, load_typed_pipeline, predict_documents
from tasks.tracking.registry import find_registered_version, find_version

_ROW_CONTENT = ("text", "raw")


def trace_row(output_dir: Path, shard_id: str, row: int, *, verify: bool) -> dict[str, Any]:
    """Print and return the chain behind a row: its answer, versions, training and data.

    A deployment logs it, without the row's text and bytes.

    Args:
        output_dir: Folder of an output.
        shard_id: A shard of it.
        row: Number of the row in its file, counted from 1.
        verify: Whether to predict the row again and compare.

    Raises:
        ParameterError: If there is no such shard or row.
        DataError: If the shard's record is damaged.
        ModelError: If the row's version is gone, or predicts something else now.
    """
    record = _record_of(output_dir, shard_id)
    folder, values = _row_of(output_dir, record, row)
    chain = {
        "shard": shard_id,
        "row": row,
        "text": values.get(record.parameters.text_column),
        "input_file": record.shard.source,
        "input_sha256": record.shard.sha256,
    }
    if folder == "rejected":
        chain |= {"rejected_by": values["step"], "reason": values["reason"]}
        raw = values["raw"]
        chain |= {"line": values["line"], "raw": raw and raw.decode(errors="backslashreplace")}
        chain |= _asked(record)
    else:
        chain |= {name: values[name] for name in PREDICTION_COLUMNS}
        chain |= _asked(record) | _versions(values)
        if verify:
            chain |= _verify_row(chain)
    print_table("One row", _without_content(chain) if deployment.id else chain)
    return chain


def _without_content(chain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chain.items() if name not in _ROW_CONTENT}


def _record_of(output_dir: Path, shard_id: str) -> ShardRecord:
    try:
        # A name with a path in it is no shard's.
        record = read_record(output_dir, shard_id) if Path(shard_id).name == shard_id else None
    except ValueError as error:
        raise DataError(str(error)) from error
    if record is None:
        known = sorted(path.stem for path in (output_dir / "records").glob("*.json"))
        examples = f"one of {len(known)}, such as {known[0]}" if known else "an output folder"
        raise ParameterError(f"shard: {shard_id!r} is not in {output_dir}; expected {examples}")
    return record


def _row_of(output_dir: Path, record: ShardRecord, row: int) -> tuple[str, dict[str, Any]]:
    for folder in FOLDERS:
        path = table_path(output_dir, folder, record.shard.id)
        # Not read_table, whose data sets have columns of their own.
        table = pyarrow.parquet.ParquetFile(path).read()
        place = table["row"].index(row).as_py()
        if place >= 0:
            return folder, _values(table.slice(place, 1), record.parameters.text_column)
    last = record.shard.first_row + record.shard.rows - 1
    raise ParameterError(
        f"row: {row} is not in {record.shard.id}; expected {record.shard.first_row} to {last}"
    )


def _values(row: pa.Table, text_column: str) -> dict[str, Any]:
    """Return the text and the columns of the contract of one row."""
    names = [*PREDICTION_COLUMNS, *REJECTED_COLUMNS]
    own = row.select([name for name in row.column_names if name in names])
    text = extract_texts(row, text_column)[0] if text_column in row.column_names else None
    shown = text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text
    return {text_column: shown, **own.to_pylist()[0]}


def _asked(record: ShardRecord) -> dict[str, Any]:
    return {
        "asked_version": record.model_uri,
        "pipeline_fingerprint": record.fingerprint,
        "engine": record.engine,
        "precision": record.precision,
        "scored_at": record.started.isoformat(timespec="seconds"),
        "scored_on": record.host,
        "prefect_flow_run": record.flow_run_id,
    }


def _versions(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what computed an answer, and what that was made from."""
    logged = values["inference_pipeline_model_uri"]
    pipeline = find_registered_version(PIPELINE_MODEL, logged)
    if pipeline is None:
        raise ModelError(f"{logged}: no version of {PIPELINE_MODEL} is that model any more")
    name, number = values["finetuned_model_uri"].removeprefix("models:/").split("/")
    finetuned = find_version(name, number)
    training = connect().get_run(str(finetuned.run_id))
    return {
        "computed_by_version": f"models:/{pipeline.name}/{pipeline.version}",
        "pipeline_code_commit": pipeline.tags.get("git_commit"),
        "training_run": training.info.run_id,
        "training_code_commit": training.data.tags.get("git_commit"),
        "data_source": training.data.params.get("source"),
        "data_digest": training.data.tags.get("data_digest"),
    }


def _verify_row(chain: Mapping[str, Any]) -> dict[str, Any]:
    version = chain["inference_pipeline_model_uri"]
    (answer,) = predict_documents(
        load_pipeline(version), [chain["text"]], use_cache=False, batch_tokens=1
    )
    response = answer["response"] or {"prediction_label": None, "prediction_score": 0.0}
    label, score = response["prediction_label"], response["prediction_score"]
    difference = abs(score - chain["prediction_score"])
    # This machine may have another engine than the one that scored the row.
    allowed = max(
        TOLERANCE[precision]
        for precision in (chain["precision"], load_typed_pipeline(version).variant.precision)
    )
    # Not `difference > …`, which a NaN would pass.
    if label != chain["prediction_label"] or not difference <= allowed:
        raise ModelError(
            f"{chain['shard']} row {chain['row']}: {version} answers {label} {score:.6f} now; "
            f"expected {chain['prediction_label']} "
            f"{chain['prediction_score']:.6f} within {allowed}"
        )
    return {"verified": f"same label, scores within {difference:.1e}"}
