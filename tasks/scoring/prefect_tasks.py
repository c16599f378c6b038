"""Prefect tasks that survey inputs, plan and score shards, and publish the summary."""

from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task

from tasks.arms.types import ScoringModel
from tasks.common.task_errors import (
    RETRY_BUSY_MLFLOW,
    RETRY_DELIVERY,
    RETRY_FILE_ACCESS,
    RETRY_LONG_WORK,
    RETRY_ONCE,
    redacted_delivery_errors,
    redacted_errors,
    step,
)
from tasks.delivery.types import DeliveryTarget
from tasks.ingestion.formats import Survey
from tasks.inputs.types import FoundInputs, InputFile, Surveyed
from tasks.output.records import RESERVED_COLUMNS, Shard, ShardRecord
from tasks.output.row_parameters import RowParameters
from tasks.output.traffic_split import AskedSplit
from tasks.scoring.types import PlannedShard, ScoringParameters, ShardOutcome
from tasks.staging.types import StagedShard


@step(name="identify model", **RETRY_BUSY_MLFLOW)
def identify_model(model_uri: str, rows: RowParameters) -> ScoringModel:
    """Return the version that an alias means now, so that all shards use that one."""
    from tasks.scoring.scoring_model import resolve_scoring_model

    return resolve_scoring_model(model_uri, rows)


@step(name="check champion", **RETRY_BUSY_MLFLOW)
def check_champion(model: ScoringModel) -> None:
    """Check that the version is champion still, as a run has it that waited after a promotion."""
    from tasks.scoring import scoring_model

    scoring_model.check_champion(model.uri)


@step(name="identify challenger", **RETRY_BUSY_MLFLOW)
def identify_challenger(
    asked: AskedSplit, control: ScoringModel, rows: RowParameters
) -> ScoringModel:
    """Return the version that answers the share of a split, which is not the control's."""
    from tasks.scoring.scoring_model import resolve_challenger

    return resolve_challenger(asked, control, rows)


@step(name="find inputs", **RETRY_LONG_WORK)
def find_inputs(
    inputs: tuple[str, ...], output_dir: Path, *, settle_seconds: int, allow_empty: bool
) -> FoundInputs:
    """List the files to score, those that are left for later, and those that are gone."""
    from tasks.scoring.planning import select_inputs

    return select_inputs(inputs, output_dir, settle_seconds=settle_seconds, allow_empty=allow_empty)


@task(name="survey input", task_run_name="survey {file.id}", **RETRY_FILE_ACCESS)
def survey_input(file: InputFile, parameters: ScoringParameters) -> Survey:
    """Read a file once, for its digest, its number of rows and the types of its columns.

    A URL is downloaded before.
    """
    from tasks.ingestion.column_checks import check_declared
    from tasks.ingestion.table_reader import survey
    from tasks.inputs.input_files import download_input, named_by_source

    download_input(file)
    rows = parameters.rows
    key_column = rows.traffic.key_column if rows.traffic else ""
    required = set(filter(None, (rows.text_column, rows.label_column, key_column)))
    reserved = RESERVED_COLUMNS.union(rows.added_columns)
    with redacted_errors(file.name), named_by_source(file):
        found = survey(file.path, required, reserved, {rows.text_column}, parameters.reading)
        # A JSONL file without a row that can be read has no columns to look for.
        if names := found.arrow_schema.names:
            check_declared(file.path, names, parameters.declared_columns)
        return found


@task(name="survey inputs", task_run_name="survey from {files[0].id}", **RETRY_FILE_ACCESS)
def survey_inputs(
    files: tuple[InputFile, ...], parameters: ScoringParameters
) -> tuple[Survey, ...]:
    """Survey files one after the other, until one cannot be read."""
    return tuple(survey_input.fn(file, parameters) for file in files)


@step(name="plan shards", **RETRY_ONCE)
def plan_shards(
    surveys: tuple[Surveyed, ...], parameters: ScoringParameters
) -> tuple[PlannedShard, ...]:
    """Split the files into shards, and find those that are done already."""
    from tasks.scoring.planning import plan_files

    return plan_files(surveys, parameters)


@task(name="look up", task_run_name="look up {lookup} {shard.id}", **RETRY_FILE_ACCESS)
def look_up(
    shard: Shard, lookup: str, model_uri: str, staged: Path, target: Path, output_dir: Path
) -> None:
    """Look up the keys of a shard's rows; one that fails is written as such."""
    from tasks.staging.lookups import look_up_rows
    from tasks.tracking.pipeline_loader import load_logic

    with redacted_errors(shard.id):
        logic = load_logic(model_uri)
        assert logic is not None  # noqa: S101 -- it has the look-up
        look_up_rows(logic, lookup, staged, target, output_dir)


@task(name="score shard", task_run_name="score {shard.id}", **RETRY_FILE_ACCESS)
def score_shard(shard: Shard, staged: StagedShard, parameters: ScoringParameters) -> ShardRecord:
    """Score a range of rows and publish its predictions, its rejects and its record."""
    from tasks.scoring.shard_scorer import score_rows

    with redacted_errors(shard.id):
        return score_rows(shard, staged, parameters)


@task(name="prepare delivery", task_run_name="prepare delivery to {target}", **RETRY_DELIVERY)
def prepare_delivery(
    target: DeliveryTarget,
    folder: str,
    surveys: tuple[Surveyed, ...],
    parameters: ScoringParameters,
) -> None:
    """Make the table with the columns of all files, or check it."""
    from tasks.delivery.checks import prepare_target
    from tasks.scoring.shard_scorer import table_schemas
    from tasks.sources.addresses import require_address

    with redacted_delivery_errors(str(target), str(target)):
        schemas = table_schemas(folder, surveys, parameters)
        prepare_target(target, require_address(target.source), schemas)


@task(name="copy tables", **RETRY_FILE_ACCESS)
def copy_tables(
    outcomes: tuple[ShardOutcome, ...], parameters: ScoringParameters
) -> tuple[ShardOutcome, ...]:
    """Make the copies as CSV or JSONL that are missing, of all shards that are done."""
    from tasks.scoring.shard_scorer import copy_shards

    with redacted_errors(parameters.output_format):
        return copy_shards(outcomes, parameters)


@task(name="prove completeness", **RETRY_ONCE)
def prove_complete(
    surveys: tuple[Surveyed, ...],
    outcomes: tuple[ShardOutcome, ...],
    parameters: ScoringParameters,
) -> None:
    """Check in the published files that each row of the input is there once."""
    from tasks.scoring.completeness import check_completeness

    check_completeness(surveys, outcomes, parameters)


@task(name="publish summary", **RETRY_ONCE)
def publish_summary(
    parameters: ScoringParameters,
    inputs: FoundInputs,
    surveys: tuple[Surveyed, ...],
    outcomes: tuple[ShardOutcome, ...],
    started: datetime,
) -> dict[str, Any]:
    """Sum up the shards; write `manifest.json` and print a table."""
    from tasks.scoring.summary import publish_manifest

    return publish_manifest(parameters, inputs, surveys, outcomes, started)


@step(name="report dry run", **RETRY_ONCE)
def report_dry_run(
    surveys: tuple[Surveyed, ...],
    planned: tuple[PlannedShard, ...],
    parameters: ScoringParameters,
) -> dict[str, Any]:
    """Report what a run would do, without writing anything."""
    from tasks.scoring.dry_run import estimate_run

    return estimate_run(surveys, planned, parameters)
