"""Score one shard and publish its predictions, rejected rows and record as whole files."""

import logging
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from pyfunc.business.column_types import to_schema
from pyfunc.contract import Outcome
from tasks.arms.answering import ArmAnswers, ReadableRows, Work
from tasks.arms.assignment import assign_arms
from tasks.arms.tally import Tally
from tasks.common.counting import count_values
from tasks.common.progress import track_rows
from tasks.ingestion.table_reader import empty_block
from tasks.inputs.types import Surveyed
from tasks.output.copies import write_copies
from tasks.output.folder import output_errors
from tasks.output.records import OutputFormat, Shard, ShardRecord
from tasks.output.tables import (
    build_predictions,
    build_rejected,
    extract_texts,
    select_readable,
    select_review,
)
from tasks.output.text_files import CopyFormat, write_text
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.staging.arrow_files import read_staged
from tasks.staging.lookups import read_lookups
from tasks.staging.publishing import DraftedShard, Drafts, publish_shard
from tasks.staging.types import StagedShard
from tasks.tracking.pipeline_loader import load_typed_pipeline

logger = logging.getLogger(__name__)

_NO_SHARD = Shard(id="", file_id="", source="", sha256="", first_row=1, rows=0)


def score_rows(shard: Shard, staged: StagedShard, parameters: ScoringParameters) -> ShardRecord:
    """Answer the rows of a shard; publish what is rejected, what is predicted, and the record.

    See `draft_shard`, and `tasks.staging.publishing.publish_shard`, which may raise as well.
    """
    drafts = Drafts(staged.rows.parent)
    try:
        return publish_shard(draft_shard(shard, staged, parameters, drafts), parameters.output_dir)
    finally:
        drafts.remove()


def draft_shard(
    shard: Shard, staged: StagedShard, parameters: ScoringParameters, drafts: Drafts
) -> DraftedShard:
    """Answer the rows of a shard, and write its tables as drafts.

    Args:
        shard: The range of rows.
        staged: Where its rows and their look-ups are.
        parameters: How to score them.
        drafts: What writes the tables; the caller removes those that are not published.

    Raises:
        OutputError: If the output folder is full or may not be written.
        OSError: If a file fails in another way.
        ModelError: If the model cannot be loaded.
        StoppedError: If the run is cancelled.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    answers = _answer(shard, staged, parameters)
    tally = Tally(parameters.models, parameters.rows, answers)
    with output_errors(parameters.output_dir):
        parts = _parts_with_outcomes(staged.rows, answers.outcomes)
        rejected = (build_rejected(shard, rows, outcomes) for rows, outcomes in parts)
        _write_table(map(tally.count_rejected, rejected), "rejected", drafts)
        predictions = _predictions(shard, staged.rows, answers, parameters)
        _write_table(map(tally.count_predictions, predictions), "predictions", drafts)
        if tally.needs_review:
            predictions = _predictions(shard, staged.rows, answers, parameters)
            _write_review(predictions, parameters.output_format, drafts)
    record = ShardRecord(
        shard=shard,
        model_uri=parameters.model.uri,
        logged_uri=parameters.model.logged_uri,
        fingerprint=parameters.model.fingerprint,
        rules_digest=parameters.model.rules_digest,
        engine=parameters.model.engine,
        precision=parameters.model.precision,
        parameters=parameters.rows,
        counts=tally.counts(),
        labels=tally.labels,
        deciders=tally.deciders,
        languages=count_values(_languages(answers.outcomes)),
        scores=tally.scores,
        reasons=count_values(tally.reasons),
        files=drafts.digests,
        started=started,
        seconds=time.monotonic() - clock,
        model_seconds=sum(work.model_seconds for work in answers.works),
        host=socket.gethostname(),
        flow_run_id=parameters.flow_run_id,
        arms=tally.arm_records(),
    )
    return DraftedShard(record=record, drafts=drafts.paths)


def copy_shards(
    outcomes: Sequence[ShardOutcome], parameters: ScoringParameters
) -> tuple[ShardOutcome, ...]:
    """Make the copies of tables that the output format asks for; see `write_copies`.

    Returns:
        The outcomes, with the digests of the copies in their records.

    Raises:
        OutputError: If the output folder is full or may not be written.
    """
    text_format = parameters.output_format
    if text_format == "parquet":
        return tuple(outcomes)
    copied = {}
    with output_errors(parameters.output_dir):
        for outcome in outcomes:
            if outcome.record is not None:
                record = write_copies(parameters.output_dir, outcome.record, text_format)
                copied[outcome.id] = {"record": record, "copied": record is not outcome.record}
    made = sum(bool(changes["copied"]) for changes in copied.values())
    logger.info("copied the tables of %d shards as %s", made, text_format)
    return tuple(outcome.model_copy(update=copied.get(outcome.id, {})) for outcome in outcomes)


def table_schemas(
    folder: str, surveys: Sequence[Surveyed], parameters: ScoringParameters
) -> dict[str, pa.Schema]:
    """Return the columns that the tables of each readable file will have, by its name.

    Args:
        folder: Which tables: `predictions` or `rejected`.
        surveys: The files.
        parameters: How they are scored.
    """
    added = to_schema(parameters.added_columns).empty_table()
    schemas = {}
    for surveyed in surveys:
        if surveyed.survey is not None:
            rows = empty_block(surveyed.survey)
            if folder == "rejected":
                table = build_rejected(_NO_SHARD, rows, [])
            else:
                table = build_predictions(
                    _NO_SHARD,
                    select_readable(rows),
                    [],
                    parameters.rows,
                    is_composed=parameters.is_composed,
                    added=added,
                )
            schemas[surveyed.file.name] = table.schema
    return schemas


def _answer(shard: Shard, staged: StagedShard, parameters: ScoringParameters) -> ArmAnswers:
    """Answer the readable rows, part by part; the texts of one part are in memory at a time."""
    pipelines = [load_typed_pipeline(model.uri) for model in parameters.models]
    answers = ArmAnswers([Work() for _ in pipelines], to_schema(parameters.added_columns))
    looked_up = [read_lookups(files) for files in staged.lookups]
    with track_rows(shard.rows) as count:
        for rows in read_staged(staged.rows):
            readable = select_readable(rows)
            first, length = len(answers.outcomes), readable.num_rows
            answers.answer(
                pipelines,
                ReadableRows(
                    extract_texts(readable, parameters.rows.text_column),
                    {
                        name: extract_texts(readable, name)
                        for name in parameters.rows.business_columns
                    },
                    [
                        {name: found.slice(first, length) for name, found in tables.items()}
                        for tables in looked_up
                    ],
                ),
                assign_arms(readable, parameters.rows),
                use_cache=parameters.use_cache,
                batch_tokens=parameters.batch_tokens,
                refuse=parameters.rows.language.rejection_reason,
                progress=count,
                all_scores=parameters.rows.all_scores,
            )
    return answers


def _parts_with_outcomes(
    staged: Path, outcomes: Sequence[Outcome]
) -> Iterator[tuple[pa.Table, Sequence[Outcome]]]:
    """Yield the staged rows in parts, each with the outcomes of those that are readable."""
    first = 0
    for rows in read_staged(staged):
        last = first + rows["reason"].null_count
        yield rows, outcomes[first:last]
        first = last


def _write_table(parts: Iterable[pa.Table], folder: str, drafts: Drafts) -> None:
    stream = iter(parts)
    first = next(stream)
    with (
        drafts.file(folder) as path,
        pyarrow.parquet.ParquetWriter(path, first.schema) as writer,
    ):
        for part in chain([first], stream):
            writer.write_table(part)


def _predictions(
    shard: Shard, staged: Path, answers: ArmAnswers, parameters: ScoringParameters
) -> Iterator[pa.Table]:
    """Yield the predictions of a shard in parts."""
    parts = _parts_with_outcomes(staged, answers.outcomes)
    for (rows, outcomes), added in zip_longest(parts, answers.added):
        yield build_predictions(
            shard,
            select_readable(rows),
            outcomes,
            parameters.rows,
            is_composed=parameters.is_composed,
            added=added,
        )


def _write_review(
    predictions: Iterator[pa.Table], output_format: OutputFormat, drafts: Drafts
) -> None:
    """Write the rows that need a review."""
    review_format: CopyFormat = "csv-semicolon" if output_format == "csv-semicolon" else "csv"
    rows = map(select_review, predictions)
    first = next(rows)
    with drafts.file("review") as path:
        write_text(chain([first], rows), first.schema, path, review_format)


def _languages(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the language of each row for which one was looked for."""
    parts = [outcome.answer or outcome.refusal for outcome in outcomes]
    return [part.language.code for part in parts if part is not None and part.language is not None]
