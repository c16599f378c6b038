"""Cache pruning and clean-up, as Prefect tasks."""

from typing import Any

from tasks.common.task_errors import RETRY_MLFLOW, step
from tasks.maintenance.types import CleanupResult, Limits


@step(name="drop superseded", **RETRY_MLFLOW)
def drop_superseded(keep: tuple[str, ...], *, dry_run: bool) -> dict[str, Any]:
    """Drop the cache entries of superseded pipelines; see `cache_pruning.prune_cache_entries`."""
    from tasks.maintenance.cache_pruning import prune_cache_entries

    return prune_cache_entries(keep, dry_run=dry_run)


# None of these is retried: a second attempt would report its own part alone. The next run finishes.


@step(name="clean outputs")
def clean_outputs(limits: Limits) -> CleanupResult:
    """Report stale output folders, and free them if asked; see `stale_outputs`."""
    from tasks.maintenance import stale_outputs

    return stale_outputs.clean_outputs(limits)


@step(name="clean versions")
def clean_versions(limits: Limits, outputs: CleanupResult) -> CleanupResult:
    """Report superseded versions, and free them if asked; see `stale_versions`."""
    from tasks.maintenance import stale_versions

    return stale_versions.clean_versions(limits, outputs)


@step(name="clean checkpoints")
def clean_checkpoints(limits: Limits) -> CleanupResult:
    """Report checkpoints that no training resumes, and free them if asked; see `orphaned_files`."""
    from tasks.maintenance import orphaned_files

    return orphaned_files.clean_checkpoints(limits)


@step(name="clean downloads")
def clean_downloads(limits: Limits) -> CleanupResult:
    """Report what broken downloads left, and free it if asked; see `orphaned_files`."""
    from tasks.maintenance import orphaned_files

    return orphaned_files.clean_downloads(limits)


@step(name="report cleaning")
def report_cleaning(found: tuple[CleanupResult, ...], *, applied: bool) -> dict[str, Any]:
    """Print and return what was found; see `cleanup_report`."""
    from tasks.maintenance.cleanup_report import publish_cleanup

    return publish_cleanup(found, applied=applied)
