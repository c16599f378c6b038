"""Prefect tasks that compare two versions."""

from pathlib import Path

from prefect import task

from tasks.common.task_errors import RETRY_MLFLOW, RETRY_ONCE
from tasks.comparison.types import Comparison, RowChoice, Speed
from tasks.tracking.names import RegisteredModel


@task(name="find versions", **RETRY_MLFLOW)
def find_versions(present: str, other: str) -> tuple[RegisteredModel, RegisteredModel] | None:
    """Return the two versions that references name; None if no version is challenger."""
    from tasks.comparison.versions import find_pair

    return find_pair(present, other)


@task(name="compare rows", **RETRY_ONCE, persist_result=False)  # it holds texts of rows
def compare_rows(present: Path, other: Path, choice: RowChoice, examples: int) -> Comparison:
    """Compare the output folders of two versions, row by row."""
    from tasks.comparison.counting import compare_outputs

    return compare_outputs(present, other, choice, examples=examples)


@task(name="measure speed", **RETRY_ONCE)
def measure_speed(present: Path, comparison: Comparison) -> tuple[Speed, Speed] | None:
    """Measure both versions on texts of the rows that they answered; None if there are none."""
    from tasks.comparison.speed import measure_speeds, sample_texts

    texts = sample_texts(present)
    return measure_speeds(comparison.present, comparison.other, texts) if texts else None
