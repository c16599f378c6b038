"""Looking back and tidying up, as Prefect tasks."""

from pathlib import Path
from typing import Any

from prefect import task

from tasks.retrying import unless_refused


@task(name="explain row", retries=2, retry_delay_seconds=5, retry_condition_fn=unless_refused)
def explain_row(output_dir: str, shard: str, row: int, *, verify: bool) -> dict[str, Any]:
    """Print and return the chain behind a row; see `tasks.explaining.explain`."""
    from tasks.explaining import explain

    return explain(Path(output_dir).expanduser().resolve(), shard, row, verify=verify)


@task(name="drop superseded", retries=2, retry_delay_seconds=5, retry_condition_fn=unless_refused)
def drop_superseded(keep: tuple[str, ...], *, dry_run: bool) -> dict[str, Any]:
    """Drop cache entries of superseded pipelines; see `tasks.pruning.prune`."""
    from tasks.pruning import prune

    return prune(keep, dry_run=dry_run)
