"""Score one shard and publish its predictions, rejected rows and record as whole files."""

import logging
import socket
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from pyfunc.contract import Answers, Outcome
from tasks.common.counting import count_values, score_histogram
from tasks.common.files import published_file, sha256_of
from tasks.common.progress import track_rows
from tasks.dataset.labels import KnownLabels, is_missing
from tasks.output.folder import output_errors
from tasks.output.records import Counts, Shard, ShardRecord, table_path, write_record
from tasks.output.tables import build_predictions, build_rejected, extract_texts, select_readable
from tasks.scoring.row_ranges import read_staged
from tasks.scoring.types import ScoringParameters
from tasks.tracking.pipeline_loader import load_typed_pipeline

logger = logging.getLogger(__name__)


def score_rows(shard: Shard, staged: Path, parameters: ScoringParameters) -> ShardRecord:
    """Answer the rows of a shard; publish what is rejected, what is predicted, and the record.

    Args:
        shard: The range of rows.
        staged: Where `tasks.scoring.row_ranges.write_staged` put them.
        parameters: How to score them.

    Raises:
        OutputError: If the output folder is full or may not be written.
        OSError: If a file fails in another way.
        ModelError: If the model cannot be loaded.
        StoppedError: If the run is cancelled.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    rows = read_staged(staged)
    readable = select_readable(rows)
    with track_rows(shard.rows) as count:
        answers = load_typed_pipeline(parameters.model.uri).answer(
            extract_texts(readable, parameters.rows.text_column),
            use_cache=parameters.use_cache,
            batch_tokens=parameters.batch_tokens,
            refuse=parameters.rows.language.rejection_reason,
            progress=count,
        )
    rejected = build_rejected(shard, rows, answers.outcomes)
    predictions = build_predictions(shard, readable, answers.outcomes, parameters.rows.language)
    with output_errors(parameters.output_dir):
        files = {
            "rejected": _write_table(rejected, "rejected", shard, parameters),
            "predictions": _write_table(predictions, "predictions", shard, parameters),
        }
        record = ShardRecord(
            shard=shard,
            model_uri=parameters.model.uri,
            fingerprint=parameters.model.fingerprint,
            engine=parameters.model.engine,
            precision=parameters.model.precision,
            parameters=parameters.rows,
            counts=_counts(predictions, rejected, answers, parameters),
            labels=count_values(predictions["prediction_label"].to_pylist()),
            languages=count_values(_languages(answers.outcomes)),
            scores=score_histogram(predictions["prediction_score"].to_pylist()),
            reasons=count_values(_reasons(rejected)),
            files=files,
            started=started,
            seconds=time.monotonic() - clock,
            model_seconds=answers.model_seconds,
            host=socket.gethostname(),
            flow_run_id=parameters.flow_run_id,
        )
        write_record(parameters.output_dir, record)
    logger.info(
        "%s: %d rows scored (%d through the model), %d rejected, in %.1f s",
        shard.id,
        record.counts.scored,
        record.counts.model_calls,
        record.counts.rejected,
        record.seconds,
    )
    return record


def _write_table(table: pa.Table, folder: str, shard: Shard, parameters: ScoringParameters) -> str:
    with published_file(table_path(parameters.output_dir, folder, shard.id)) as draft:
        pyarrow.parquet.write_table(table, draft)
        return sha256_of(draft)


def _counts(
    predictions: pa.Table, rejected: pa.Table, answers: Answers, parameters: ScoringParameters
) -> Counts:
    sources = Counter(outcome.source for outcome in answers.outcomes)
    return Counts(
        rows_in=predictions.num_rows + rejected.num_rows,
        scored=predictions.num_rows,
        rejected=rejected.num_rows,
        model_calls=answers.model_calls,
        repeated=sources["repeated"],
        cached=sources["cached"],
        cache_failures=answers.cache_failures,
        retried=answers.retried,
        **_accuracy_counts(predictions, parameters),
    )


def _accuracy_counts(predictions: pa.Table, parameters: ScoringParameters) -> Counter[str]:
    """Count rows that have a label, those it is predicted for, and those of unknown labels."""
    counts: Counter[str] = Counter()
    if parameters.rows.label_column is None:
        return counts
    known = KnownLabels(parameters.model.labels)
    labels = extract_texts(predictions, parameters.rows.label_column)
    for label, predicted in zip(labels, predictions["prediction_label"].to_pylist(), strict=True):
        if not is_missing(label):
            name = known.find(label)
            counts["labelled"] += 1
            counts["correct"] += name == predicted
            counts["unknown_labels"] += name is None
    return counts


def _languages(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the language of each row for which one was looked for."""
    parts = [outcome.answer or outcome.refusal for outcome in outcomes]
    return [part.language.code for part in parts if part is not None and part.language is not None]


def _reasons(rejected: pa.Table) -> list[str]:
    return [
        f"{step}: {reason}"
        for step, reason in zip(
            rejected["step"].to_pylist(), rejected["reason"].to_pylist(), strict=True
        )
    ]
