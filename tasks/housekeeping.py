"""Looking back and tidying up, as Prefect tasks."""

from pathlib import Path
from typing import Any

from prefect import task

from tasks.common.task_errors import RETRY_MLFLOW
from tasks.leftovers import Cleaned, Limits


@task(
    name="explain row",
    **RETRY_MLFLOW,
    persist_result=False,  # it holds the text of a row
)
def explain_row(output_dir: str, shard: str, row: int, *, verify: bool) -> dict[str, Any]:
    """Print and return the chain behind a row; see `tasks.explaining.explain`."""
    from tasks.explaining import explain

    return explain(Path(output_dir).expanduser().resolve(), shard, row, verify=verify)


@task(name="drop superseded", **RETRY_MLFLOW)
def drop_superseded(keep: tuple[str, ...], *, dry_run: bool) -> dict[str, Any]:
    """Drop cache entries of superseded pipelines; see `tasks.pruning.prune`."""
    from tasks.pruning import prune

    return prune(keep, dry_run=dry_run)


# None of these is retried: a second attempt would tell its own part alone. The next run finishes.


@task(name="clean outputs")
def clean_outputs(limits: Limits) -> Cleaned:
    """Tell of old output folders, and free them if asked; see `tasks.old_outputs`."""
    from tasks import old_outputs

    return old_outputs.clean_outputs(limits)


@task(name="clean versions")
def clean_versions(limits: Limits, outputs: Cleaned) -> Cleaned:
    """Tell of superseded versions, and free them if asked; see `tasks.old_versions`."""
    from tasks import old_versions

    return old_versions.clean_versions(limits, outputs)


@task(name="clean checkpoints")
def clean_checkpoints(limits: Limits) -> Cleaned:
    """Tell of checkpoints that nobody needs, and free them if asked; see `tasks.unused_files`."""
    from tasks import unused_files

    return unused_files.clean_checkpoints(limits)


@task(name="clean downloads")
def clean_downloads(limits: Limits) -> Cleaned:
    """Tell of what broken downloads left, and free it if asked; see `tasks.unused_files`."""
    from tasks import unused_files

    return unused_files.clean_downloads(limits)


@task(name="report cleaning")
def report_cleaning(found: tuple[Cleaned, ...], *, applied: bool) -> dict[str, Any]:
    """Print and return what was found; see `tasks.cleaning.publish`."""
    from tasks.cleaning import publish

    return publish(found, applied=applied)
