"""Prefect tasks that let other versions answer a sample."""

from pathlib import Path

from prefect import task

from tasks.common.task_errors import (
    RETRY_BUSY_MLFLOW,
    RETRY_FILE_ACCESS,
    RETRY_MLFLOW,
    RETRY_ONCE,
    redacted_errors,
)
from tasks.comparison.types import Comparison
from tasks.output.records import ShardRecord
from tasks.scoring.types import ScoringParameters
from tasks.shadow.types import FoundShadow, ShadowPlan


@task(name="identify shadow", task_run_name="identify {reference}", **RETRY_BUSY_MLFLOW)
def identify_shadow(reference: str, parameters: ScoringParameters, audit_days: int) -> ShadowPlan:
    """Return the version that answers a sample of the rows, or why none does."""
    from tasks.shadow.planning import plan_shadow

    return plan_shadow(reference, parameters, audit_days=audit_days)


@task(name="shadow shard", task_run_name="shadow {record.shard.id}", **RETRY_FILE_ACCESS)
def shadow_shard(record: ShardRecord, source: Path, parameters: ScoringParameters) -> ShardRecord:
    """Answer the sample of a published shard with another version."""
    from tasks.shadow.shard_sample import answer_sample

    with redacted_errors(record.shard.id):
        return answer_sample(record, source, parameters)


@task(name="find shadow", **RETRY_MLFLOW)
def find_shadow(output_dir: Path, present: str, other: str) -> FoundShadow:
    """Return where another version answered rows of an output, or why there is nothing."""
    from tasks.shadow.answers import find_answers

    return find_answers(output_dir, present, other)


@task(name="compare shadow", **RETRY_ONCE, persist_result=False)  # it holds texts of rows
def compare_shadow_rows(
    output_dir: Path, shadow: FoundShadow, label_column: str, examples: int
) -> Comparison:
    """Compare all rows that a version answered as a shadow with the present version's answers."""
    from tasks.shadow.answers import compare_answers

    return compare_answers(output_dir, shadow, label_column=label_column, examples=examples)
