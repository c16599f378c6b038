"""Dry run: estimate rows, duplicates, cache hits, model calls and seconds; write nothing."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Any, NamedTuple

import pyarrow as pa

from pyfunc.detectors.detector import LanguageDetector
from pyfunc.pipeline import refusal_reason
from tasks.arms.assignment import assign_arms
from tasks.common.console import print_table
from tasks.common.errors import DataError
from tasks.common.task_errors import describe_error
from tasks.inputs.row_ranges import read_shards
from tasks.inputs.types import InputFile, Surveyed
from tasks.output.records import read_records
from tasks.output.tables import extract_texts, select_readable
from tasks.output.traffic_split import ARMS
from tasks.scoring.summary import row_warnings, seconds_a_call
from tasks.scoring.types import PlannedShard, ScoringParameters
from tasks.tracking.pipeline_loader import load_typed_pipeline

# Records of the same pipeline that an estimate is made from, the latest ones.
_RECORDS = 100

_DIGEST_BYTES = 16

_EXPECTED = ("expected_cache_hits", "expected_model_calls")


def estimate_run(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard], parameters: ScoringParameters
) -> dict[str, Any]:
    """Read the input, print and return what a run with these parameters would do.

    Rows, texts and refusals are those of the shards that are done or to be scored, as in the
    summary of a run; what was counted of a shard that is done is in its record. Hits and calls are
    those of the shards that are to be scored; `expected_seconds` is estimated from the records of
    the output folder, and None if none of them is of this pipeline and split and of enough texts.
    With a split, `arms` has the rows, hits and calls of each version.

    A file that cannot be read to its end, or changed since its survey, is one of
    `unreadable_files`. `shards_that_cannot_be_read` are what a run would count as failed for it:
    one for a file that has no survey, and else the shards to score that were not reached.
    """
    texts = _TextCounter(parameters)
    with closing(texts):
        unread = _read_inputs(surveys, planned, texts)
    done = [p.record.counts for p in planned if p.record is not None]
    remaining = [p for p in planned if p.why]
    expected = texts.expected()
    report = {
        "output_dir": str(parameters.output_dir),
        "model_uri": parameters.model.uri,
        "rows": texts.rows_to_score + sum(counts.rows_in for counts in done),
        "rows_that_cannot_be_scored": texts.refused + sum(counts.rejected for counts in done),
        **texts.counts,
        **expected,
        "shards_total": len(planned) + sum(bool(surveyed.error) for surveyed in surveys),
        "shards_to_skip": len(done),
        "shards_to_score": len(remaining),
        "shards_that_cannot_be_read": sum(found.shards for found in unread),
        "left_because": dict(Counter(p.left for p in planned if p.left)),
        "scored_because": dict(Counter(p.why for p in remaining)),
        "row_warnings": row_warnings(surveys),
        "unreadable_files": _errors_by_name(unread),
        "expected_seconds": _expected_seconds(
            expected["expected_model_calls"], remaining, parameters
        ),
    }
    if parameters.rows.traffic is not None:
        report["arms"] = _expected_arms(texts, parameters)
    print_table("Dry run: nothing was written", report)
    return report


def _expected_arms(texts: "_TextCounter", parameters: ScoringParameters) -> dict[str, Any]:
    """Return what each arm of a split would have to do in the shards to score."""
    return {
        name: {"model_uri": model.uri} | counts
        for name, model, counts in zip(ARMS, parameters.models, texts.arms, strict=True)
    }


class _UnreadFile(NamedTuple):
    """A file that cannot be read to its end, and how many of its shards a run would fail for."""

    file: InputFile
    error: str
    shards: int


def _read_inputs(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard], texts: "_TextCounter"
) -> list[_UnreadFile]:
    """Count the texts of all shards but those that are left out; return what cannot be read."""
    by_file: dict[str, list[PlannedShard]] = {surveyed.file.id: [] for surveyed in surveys}
    for plan in planned:
        by_file[plan.shard.file_id].append(plan)
    unread = []
    for surveyed in surveys:
        if surveyed.error:
            unread.append(_UnreadFile(surveyed.file, surveyed.error, shards=1))
            continue
        shards = by_file[surveyed.file.id]
        counted = {p.shard.id for p in shards if not p.left}
        waiting = {p.shard.id for p in shards if p.why}
        try:
            for shard, blocks in read_shards(surveyed, [p.shard for p in shards], counted):
                for rows in blocks:
                    texts.add(rows, is_to_be_scored=shard.id in waiting)
                waiting.discard(shard.id)
        except (DataError, OSError) as error:
            # As in a run, the shards before the damage are none of them.
            unread.append(_UnreadFile(surveyed.file, describe_error(error), shards=len(waiting)))
    return unread


def _errors_by_name(unread: Sequence[_UnreadFile]) -> dict[str, str]:
    """Return the errors by the file's name; addresses that differ in a hidden part share one."""
    named = Counter(found.file.name for found in unread)
    return {
        found.file.name if named[found.file.name] == 1 else found.file.id: found.error
        for found in unread
    }


class _TextCounter:
    """What is known of the texts that were read; rows and refusals of shards to score alone."""

    def __init__(self, parameters: ScoringParameters) -> None:
        self._parameters = parameters
        self._pipelines = [load_typed_pipeline(model.uri) for model in parameters.models]
        self._refuse = parameters.rows.language.rejection_reason
        self._distinct = DistinctTexts()
        self._distinct_to_score = [DistinctTexts() for _ in self._pipelines]
        self.rows_to_score = self.refused = 0
        self.counts = dict.fromkeys(("distinct_texts", "duplicates"), 0)
        # Of the shards to score, by arm.
        self.arms = [dict.fromkeys(("rows", *_EXPECTED), 0) for _ in self._pipelines]

    def add(self, rows: pa.Table, *, is_to_be_scored: bool) -> None:
        """Count some rows of a shard."""
        readable = select_readable(rows)
        values = extract_texts(readable, self._parameters.rows.text_column)
        arms = assign_arms(readable, self._parameters.rows).arms
        of_arms = [
            self._accepted(
                (value for value, arm in zip(values, arms, strict=True) if arm == number),
                pipeline.detector,
            )
            for number, pipeline in enumerate(self._pipelines)
        ]
        texts = list(chain.from_iterable(of_arms))
        new = self._distinct.add(texts)
        self.counts["distinct_texts"] += len(new)
        self.counts["duplicates"] += len(texts) - len(new)
        if not is_to_be_scored:
            return
        self.rows_to_score += len(rows)
        self.refused += len(rows) - len(texts)
        for number, accepted in enumerate(of_arms):
            self.arms[number]["rows"] += arms.count(number)
            self._expect(number, accepted)

    def expected(self) -> dict[str, int]:
        """Return the cache hits and model calls of all arms."""
        return {name: sum(arm[name] for arm in self.arms) for name in _EXPECTED}

    def close(self) -> None:
        """Free what the counting took."""
        for distinct in (self._distinct, *self._distinct_to_score):
            distinct.close()

    def _accepted(self, values: Iterable[object], detector: LanguageDetector) -> list[str]:
        texts = [str(value) for value in values if not refusal_reason(value)]
        if self._parameters.rows.language.policy != "reject":
            return texts
        return [text for text in texts if not self._refuse(detector.detect(text))]

    def _expect(self, number: int, texts: Sequence[str]) -> None:
        """Count the cache hits and model calls of some texts of an arm."""
        hits = 0
        if self._parameters.use_cache:
            to_answer = self._distinct_to_score[number].add(texts)
            all_scores = self._parameters.rows.all_scores
            stored = self._pipelines[number].count_stored(to_answer, all_scores=all_scores)
            hits = len(texts) - (len(to_answer) - stored)
        self.arms[number]["expected_cache_hits"] += hits
        self.arms[number]["expected_model_calls"] += len(texts) - hits


def _expected_seconds(
    calls: int, to_score: Sequence[PlannedShard], parameters: ScoringParameters
) -> float | None:
    alike = (
        record
        for record in read_records(parameters.output_dir)
        if record.fingerprint == parameters.model.fingerprint
        and record.parameters.traffic == parameters.rows.traffic
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
