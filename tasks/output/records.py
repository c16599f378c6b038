"""Shard records (JSON): provenance, counts and file digests.

The record is written last, after the files whose digests it has: without one, a shard does not
exist.
"""

import operator
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pyfunc.spec import EngineName, Precision
from tasks.common.files import published_file, read_plain_file
from tasks.common.parameter_types import FrozenModel
from tasks.output.row_parameters import RowParameters

FOLDERS = ("rejected", "predictions")

OutputFormat = Literal["parquet", "csv", "csv-semicolon", "jsonl"]

# What a file of an output format is called after its stem.
FORMAT_SUFFIXES: dict[OutputFormat, str] = {
    "parquet": ".parquet",
    "csv": ".csv",
    "csv-semicolon": ".csv",
    "jsonl": ".jsonl",
}

# The tables, and what is made from them and not read again: copies as text, rows to review.
SUFFIXES = (
    dict.fromkeys(FOLDERS, FORMAT_SUFFIXES["parquet"])
    | {
        f"{folder}_{kind}": suffix
        for folder in FOLDERS
        for kind, suffix in FORMAT_SUFFIXES.items()
        if kind != "parquet"
    }
    | {"review": ".csv"}
)


class Shard(FrozenModel):
    """A range of a file's rows.

    Attributes:
        id: Unique and stable: from the file's name, its path and the number of the range.
        file_id: The part of `id` that all ranges of the file share.
        source: The file's path, or its URL without secrets.
        sha256: Digest of the file as it was read.
        first_row: The first row, counted from 1.
        rows: How many there are.
        read_as: How the file's text was read otherwise than its name says; empty if it was not.
    """

    id: str
    file_id: str
    source: str
    sha256: str
    first_row: int
    rows: int
    # Not in a record without it, which earlier versions read.
    read_as: str = Field(default="", exclude_if=operator.not_)


class Counts(FrozenModel):
    """Counts of a shard's rows and of the work they took.

    Attributes:
        rows_in: All rows of the range, malformed ones included.
        scored: Rows with a prediction.
        rejected: Rows without.
        model_calls: Texts that went through the transformer.
        repeated: Rows that share the prediction of an equal one, computed at the same time.
        cached: Rows answered from the prediction cache.
        labelled: Scored rows with a label in the input.
        correct: Labelled rows with a correct prediction.
        unknown_labels: Labelled rows whose label the model does not know.
        cache_failures: Failures of the prediction cache; each costs speed alone.
        retried: Texts predicted again because their batch failed.
        needs_review: Scored rows whose score is below `review_below`.
        without_key: Rows that a split assigned by their text, because they have no key.
        lookup_failures: Rows with a look-up that failed: they have nulls, or are rejected.
        to_deliver: Scored rows that the rule `deliver` takes.
    """

    rows_in: int = 0
    scored: int = 0
    rejected: int = 0
    model_calls: int = 0
    repeated: int = 0
    cached: int = 0
    labelled: int = 0
    correct: int = 0
    unknown_labels: int = 0
    cache_failures: int = 0
    retried: int = 0
    needs_review: int = Field(default=0, exclude_if=operator.not_)
    without_key: int = Field(default=0, exclude_if=operator.not_)
    lookup_failures: int = Field(default=0, exclude_if=operator.not_)
    to_deliver: int = Field(default=0, exclude_if=operator.not_)


class ArmRecord(FrozenModel):
    """What the record of a shard has of one arm of an A/B split.

    Attributes:
        model_uri: The version that answered.
        logged_uri: `models:/m-…` of a composed version; the names in `deciders` are of its members.
        fingerprint: Digest of all that can change its predictions.
        rules_digest: Digest of its look-ups and rules; empty without.
        engine: The inference engine of the transformer.
        precision: Number format of its matrix products.
        counts: Of its rows; those that could not be read are in no arm.
        labels: Rows by predicted label.
        deciders: Rows by the member that decided them; empty if the version is not composed.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
        seconds: How long the answers took by the clock, cache included.
        model_seconds: Time of language detection and prediction, summed over threads.
    """

    model_uri: str
    logged_uri: str = Field(default="", exclude_if=operator.not_)
    fingerprint: str
    rules_digest: str = Field(default="", exclude_if=operator.not_)
    engine: EngineName
    precision: Precision
    counts: Counts
    labels: dict[str, int]
    deciders: dict[str, int] = Field(default={}, exclude_if=operator.not_)
    scores: tuple[int, ...]
    seconds: float
    model_seconds: float


class ShardRecord(FrozenModel):
    """The record of a published shard.

    Attributes:
        shard: What was scored.
        model_uri: The requested pipeline version.
        logged_uri: `models:/m-…` of a composed version; the names in `deciders` are of its members.
        fingerprint: Digest of all that can change its predictions.
        rules_digest: Digest of its look-ups and rules; empty without.
        engine: The inference engine of the transformer.
        precision: Number format of its matrix products.
        parameters: Those that can change the output of a row.
        counts: Counts of rows and of the work they took.
        labels: Rows by predicted label.
        deciders: Rows by the member that decided them; empty if the pipeline is not composed, and
            with a split, where each arm has its own.
        languages: Rows by detected language, rejected ones included.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
        reasons: Rejected rows by step and reason.
        files: SHA-256 of `predictions/<id>.parquet`, `rejected/<id>.parquet` and of what was made
            from them, by folder.
        started: When scoring began.
        seconds: How long it took.
        model_seconds: Time of language detection and prediction, summed over threads.
        host: The machine's name.
        flow_run_id: The Prefect flow run, or an empty string outside of one.
        arms: Each arm of an A/B split by its name; empty without a split.
    """

    shard: Shard
    model_uri: str
    logged_uri: str = Field(default="", exclude_if=operator.not_)
    fingerprint: str
    rules_digest: str = Field(default="", exclude_if=operator.not_)
    engine: EngineName
    precision: Precision
    parameters: RowParameters
    counts: Counts
    labels: dict[str, int]
    deciders: dict[str, int] = Field(default={}, exclude_if=operator.not_)
    languages: dict[str, int]
    scores: tuple[int, ...]
    reasons: dict[str, int]
    files: dict[str, str]
    started: datetime
    seconds: float
    model_seconds: float
    host: str
    flow_run_id: str
    arms: dict[str, ArmRecord] = Field(default={}, exclude_if=operator.not_)


def table_path(output_dir: Path, folder: str, shard_id: str) -> Path:
    """Return the path of a shard's table or of a copy; `folder` is one of `SUFFIXES`."""
    return output_dir / folder / f"{shard_id}{SUFFIXES[folder]}"


def record_path(output_dir: Path, shard_id: str) -> Path:
    """Return the path of a shard's record."""
    return output_dir / "records" / f"{shard_id}.json"


def write_record(output_dir: Path, record: ShardRecord) -> None:
    """Write a record atomically; the shard exists from then on."""
    with published_file(record_path(output_dir, record.shard.id)) as draft:
        draft.write_text(record.model_dump_json(indent=2), encoding="utf-8")


def read_record(output_dir: Path, shard_id: str) -> ShardRecord | None:
    """Return a shard's record, or None if there is none.

    Raises:
        ValueError: If it cannot be read or is invalid.
    """
    path = record_path(output_dir, shard_id)
    try:
        return ShardRecord.model_validate_json(read_plain_file(path))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ValueError(f"{path}: expected the record of a shard") from error


def read_records(output_dir: Path) -> Iterator[ShardRecord]:
    """Yield the readable records of a folder, the last published first."""
    paths = list((output_dir / "records").glob("*.json"))
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            record = read_record(output_dir, path.stem)
        except ValueError:
            continue
        if record is not None:
            yield record


# Beside the input columns, in this order.
PREDICTION_COLUMNS = (
    "shard",
    "row",
    "prediction_label",
    "prediction_score",
    "language_detected",
    "language_reliable",
    "truncated",
    "cached",
    "finetuned_model_uri",
    "inference_pipeline_model_uri",
)
REJECTED_COLUMNS = ("shard", "row", "line", "raw", "step", "reason")

# The last of the predictions: where all scores are asked for, where the policy is `flag`, where
# rows are to be reviewed, and where the pipeline is composed (the member that decided, and what
# each member that saw the text predicted).
SCORES_COLUMN = "prediction_scores"
FLAG_COLUMN = "language_flagged"
REVIEW_COLUMN = "needs_review"
DECIDER_COLUMN, MEMBERS_COLUMN = "prediction_decided_by", "prediction_members"

# Of a file in `review/`, for the label that people give.
REVIEWED_COLUMN = "reviewed_label"

# Input columns of recorded online requests: the SHA-256 of the text, which is null if it is not
# recorded, and when the request was answered.
DIGEST_COLUMN, ANSWERED_COLUMN = "text_sha256", "answered_at"

_OPTIONAL = {SCORES_COLUMN, FLAG_COLUMN, REVIEW_COLUMN, DECIDER_COLUMN, MEMBERS_COLUMN}
ADDED_COLUMNS = frozenset({*PREDICTION_COLUMNS, *_OPTIONAL})
RESERVED_COLUMNS = frozenset({*ADDED_COLUMNS, *REJECTED_COLUMNS, REVIEWED_COLUMN})
