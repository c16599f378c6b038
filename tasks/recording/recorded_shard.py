"""Write answered requests as a shard of an output folder: two tables and the record.

They have the columns of scoring, so that what reads an output reads recorded requests.
"""

import hashlib
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pyfunc.contract import Outcome
from tasks.arms.answering import ArmAnswers, Work
from tasks.arms.tally import Tally
from tasks.arms.types import ScoringModel
from tasks.common.arrow import mark_input_columns
from tasks.common.counting import count_values
from tasks.common.files import published_file, read_plain_file, sha256_of
from tasks.ingestion.table_reader import PLACE
from tasks.output.file_ids import is_recorded_id, new_recorded_id
from tasks.output.records import FOLDERS, Shard, ShardRecord, record_path, table_path
from tasks.output.row_parameters import RowParameters
from tasks.output.tables import build_predictions, build_rejected
from tasks.recording.recorded_rows import (
    TEXT,
    AnsweredRequest,
    digest_of,
    join_added,
    stage_requests,
)
from tasks.tracking.names import RegisteredModel

logger = logging.getLogger(__name__)

_SOURCE = "online requests"


def write_recorded(
    folder: Path, requests: Sequence[AnsweredRequest], *, with_text: bool
) -> ShardRecord:
    """Write requests that one version answered as a shard.

    A process that is killed leaves drafts, as scoring does; see also `complete_interrupted`.

    Args:
        folder: The output folder.
        requests: The requests, of which there is at least one.
        with_text: Whether the texts are written, or their digests alone.

    Returns:
        The record of the shard.

    Raises:
        OSError: If the folder cannot be written.
    """
    model = requests[0].model
    shard = _plan_shard(requests)
    parameters = RowParameters(text_column=TEXT).with_business(model.business)
    rows = stage_requests(requests, parameters.business_columns, with_text=with_text)
    outcomes = [outcome for request in requests for outcome in request.outcomes]
    tally = _tally(model, parameters, outcomes)
    predictions = tally.count_predictions(
        build_predictions(
            shard,
            rows,
            outcomes,
            parameters,
            is_composed=model.is_composed,
            added=join_added(requests),
        )
    )
    rejected = tally.count_rejected(build_rejected(shard, rows, outcomes))
    # Without texts there is nothing that could be scored again.
    own = [name for name in rows.column_names if name not in PLACE.names] if with_text else []
    tables = {
        "predictions": mark_input_columns(predictions, own),
        "rejected": mark_input_columns(rejected, own),
    }
    record = _describe(shard, requests, parameters, tally)
    try:
        _publish(folder, record, tables)
    except OSError:
        # Another server may have published it, to which this one seemed to be killed.
        if not record_path(folder, shard.id).exists():
            _remove_tables(folder, shard.id)
            raise
    return record


def _publish(folder: Path, record: ShardRecord, tables: Mapping[str, pa.Table]) -> None:
    """Write tables and record before the first of them gets its name, the record's last."""
    shard_id = record.shard.id
    with ExitStack() as drafts:
        # On the way out, the last that was entered gets its name first.
        record_draft = drafts.enter_context(published_file(record_path(folder, shard_id)))
        files = {}
        for name, table in tables.items():
            draft = drafts.enter_context(published_file(table_path(folder, name, shard_id)))
            pq.write_table(table, draft)
            files[name] = sha256_of(draft)
        record = record.model_copy(update={"files": files})
        record_draft.write_text(record.model_dump_json(indent=2), encoding="utf-8")


def complete_interrupted(folder: Path, idle_seconds: float = 60.0) -> None:
    """Publish shards whose writer was killed when all of their files were written.

    Their rows would be lost else, or be in a table that has no record. What cannot be published is
    left for a clean-up.

    Args:
        folder: The output folder.
        idle_seconds: How long ago its record was written: before, a server may be publishing it.
    """
    for draft in sorted((folder / "records").glob(".online-*.draft")):
        # It may be a part of a record, or another server may publish it now.
        with suppress(OSError, ValidationError):
            if time.time() - draft.stat().st_mtime < idle_seconds:
                continue
            record = ShardRecord.model_validate_json(read_plain_file(draft))
            shard_id = record.shard.id
            if is_recorded_id(shard_id) and all(
                _publish_draft(folder, name, record) for name in FOLDERS
            ):
                draft.replace(record_path(folder, shard_id))
                logger.info("%s: was left by a server that was killed, and is whole", shard_id)


def _publish_draft(folder: Path, name: str, record: ShardRecord) -> bool:
    """Give a table its name unless it has it; return whether it is there as the record says."""
    target = table_path(folder, name, record.shard.id)
    drafts = target.parent.glob(f".{target.name}.*.draft")
    for path in [target] if target.exists() else drafts:
        if sha256_of(path) == record.files.get(name):
            path.replace(target)
            return True
    return False


def _remove_tables(folder: Path, shard_id: str) -> None:
    """Remove tables that got their names before the record could get its own."""
    for name in FOLDERS:
        with suppress(OSError):  # that of the writing is raised
            table_path(folder, name, shard_id).unlink(missing_ok=True)


def _plan_shard(requests: Sequence[AnsweredRequest]) -> Shard:
    first = min(request.when for request in requests)
    shard_id = new_recorded_id(first, RegisteredModel.from_uri(requests[0].model.uri).version)
    digests = [digest_of(text) or "" for request in requests for text in request.texts]
    return Shard(
        id=shard_id,
        file_id=shard_id,
        source=_SOURCE,
        sha256=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        first_row=1,
        rows=len(digests),
    )


def _tally(model: ScoringModel, parameters: RowParameters, outcomes: list[Outcome]) -> Tally:
    calls = sum(outcome.source == "computed" for outcome in outcomes)
    answers = ArmAnswers([Work(model_calls=calls)])
    answers.outcomes, answers.arms = outcomes, [0] * len(outcomes)
    return Tally((model,), parameters, answers)


def _describe(
    shard: Shard,
    requests: Sequence[AnsweredRequest],
    parameters: RowParameters,
    tally: Tally,
) -> ShardRecord:
    model, times = requests[0].model, [request.when for request in requests]
    parts = [o.answer or o.refusal for request in requests for o in request.outcomes]
    languages = [part.language.code for part in parts if part is not None and part.language]
    return ShardRecord(
        shard=shard,
        model_uri=model.uri,
        logged_uri=model.logged_uri,
        fingerprint=model.fingerprint,
        rules_digest=model.rules_digest,
        engine=model.engine,
        precision=model.precision,
        parameters=parameters,
        counts=tally.counts(),
        labels=tally.labels,
        deciders=tally.deciders,
        languages=count_values(languages),
        scores=tally.scores,
        reasons=count_values(tally.reasons),
        files={},
        started=min(times),
        seconds=(max(times) - min(times)).total_seconds(),
        model_seconds=0.0,
        host=socket.gethostname(),
        flow_run_id="",
    )
