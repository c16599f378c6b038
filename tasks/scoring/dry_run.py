"""Dry run: estimate rows, duplicates, cache hits, model calls and seconds; write nothing."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import pyarrow as pa

from pyfunc.language import LanguageDetector
from pyfunc.pipeline import refusal_reason
from tasks.common.console import print_table
from tasks.common.errors import DataError
from tasks.common.task_errors import describe_error
from tasks.output.records import read_records
from tasks.output.tables import extract_texts, select_readable
from tasks.scoring.row_ranges import read_shards
from tasks.scoring.summary import row_warnings, seconds_a_call
from tasks.scoring.types import PlannedShard, ScoringParameters, Surveyed
from tasks.tracking.pipeline_loader import load_typed_pipeline

# Records of the same pipeline that an estimate is made from, the latest ones.
_RECORDS = 100

_DIGEST_BYTES = 16


def estimate_run(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard], parameters: ScoringParameters
) -> dict[str, Any]:
    """Read the input, print and return what a run with these parameters would do.

    Rows and texts are those of the whole input. Hits and calls are those of the shards that are
    to be scored; `expected_seconds` is estimated from the records of the output folder, and None
    if none of them is of this pipeline.

    A file that cannot be read to its end, or changed since its survey, is one of
    `unreadable_files`.
    """
    texts = _TextCounter(parameters)
    unreadable = {s.file.name: s.error for s in surveys if s.error}
    with closing(texts):
        for surveyed in surveys:
            shards = [p for p in planned if p.shard.file_id == surveyed.file.id]
            wanted = {p.shard.id for p in shards if p.why}
            try:
                for shard, blocks in read_shards(surveyed, [p.shard for p in shards]):
                    for rows in blocks:
                        texts.add(rows, is_to_be_scored=shard.id in wanted)
            except (DataError, OSError) as error:
                unreadable[surveyed.file.name] = describe_error(error)
    remaining = [p for p in planned if p.why]
    report = {
        "output_dir": str(parameters.output_dir),
        "model_uri": parameters.model.uri,
        "rows": sum(s.survey.rows for s in surveys if s.survey and s.file.name not in unreadable),
        **texts.counts,
        "shards_total": len(planned),
        "shards_to_skip": sum(p.record is not None for p in planned),
        "shards_to_score": len(remaining),
        "left_because": dict(Counter(p.left for p in planned if p.left)),
        "scored_because": dict(Counter(p.why for p in remaining)),
        "row_warnings": row_warnings(surveys),
        "unreadable_files": unreadable,
        "expected_seconds": _expected_seconds(
            texts.counts["expected_model_calls"], remaining, parameters
        ),
    }
    print_table("Dry run: nothing was written", report)
    return report


class _TextCounter:
    """What is known of the texts that were read."""

    def __init__(self, parameters: ScoringParameters) -> None:
        self._parameters = parameters
        self._pipeline = load_typed_pipeline(parameters.model.uri)
        self._detector = LanguageDetector()
        self._refuse = parameters.rows.language.rejection_reason
        self._distinct = DistinctTexts()
        self._distinct_to_score = DistinctTexts()
        self.counts = dict.fromkeys(
            (
                "distinct_texts",
                "duplicates",
                "rows_that_cannot_be_scored",
                "expected_cache_hits",
                "expected_model_calls",
            ),
            0,
        )

    def add(self, rows: pa.Table, *, is_to_be_scored: bool) -> None:
        """Count some rows of a shard."""
        readable = select_readable(rows)
        values = extract_texts(readable, self._parameters.rows.text_column)
        texts = [str(value) for value in values if not refusal_reason(value)]
        if self._parameters.rows.language.policy == "reject":
            texts = [text for text in texts if not self._refuse(self._detector.detect(text))]
        new = self._distinct.add(texts)
        self.counts["distinct_texts"] += len(new)
        self.counts["duplicates"] += len(texts) - len(new)
        self.counts["rows_that_cannot_be_scored"] += len(rows) - len(texts)
        if not is_to_be_scored:
            return
        if not self._parameters.use_cache:
            self.counts["expected_model_calls"] += len(texts)
            return
        to_answer = self._distinct_to_score.add(texts)
        stored = self._pipeline.count_stored(to_answer)
        self.counts["expected_cache_hits"] += len(texts) - (len(to_answer) - stored)
        self.counts["expected_model_calls"] += len(to_answer) - stored

    def close(self) -> None:
        """Free what the counting took."""
        self._distinct.close()
        self._distinct_to_score.close()


def _expected_seconds(
    calls: int, to_score: Sequence[PlannedShard], parameters: ScoringParameters
) -> float | None:
    alike = (
        record
        for record in read_records(parameters.output_dir)
        if record.fingerprint == parameters.model.fingerprint
    )
    records = list(islice(alike, _RECORDS))
    in_model = seconds_a_call(records)
    rows = sum(record.counts.rows_in for record in records)
    if in_model is None or not rows:
        return None
    beside = sum(record.seconds - record.model_seconds for record in records) / rows
    at_once = max(1, min(parameters.workers, len(to_score)))
    around = beside * sum(p.shard.rows for p in to_score) / at_once
    # Not divided: shards that are scored at the same time share one engine.
    return round(in_model * calls + around, 3)


class DistinctTexts:
    """The texts seen so far, as digests in a temporary file that goes away with the process."""

    def __init__(self) -> None:
        # The empty name is SQLite's for a private database on disk: https://sqlite.org/inmemorydb.html
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, texts: Sequence[str]) -> list[str]:
        """Return those of `texts` that are new, each once, in their order."""
        new = []
        self._database.execute("BEGIN")
        for text in texts:
            digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
            cursor = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,))
            if cursor.rowcount:
                new.append(text)
        self._database.execute("COMMIT")
        return new

    def close(self) -> None:
        """Remove the temporary file."""
        self._database.close()
