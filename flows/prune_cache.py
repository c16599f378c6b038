"""Drop the entries of superseded pipelines from the prediction cache."""

from typing import Annotated, Any

from prefect import flow

from flows.parameters import described
from tasks.common.parameter_types import about
from tasks.common.task_errors import reporting_failures
from tasks.maintenance.prefect_tasks import drop_superseded
from tasks.maintenance.types import Keep

DryRun = Annotated[bool, about("Whether to report what would be dropped, and drop nothing.")]


@reporting_failures
@flow(name="prune-cache")
@described
def prune_cache(keep: Keep = (), dry_run: DryRun = False) -> dict[str, Any]:
    """Drop the answers of pipelines that no alias names any more.

    Those of the champion, the challenger and the champion before it stay, so that going back
    costs nothing.

    Returns:
        Entries and bytes, kept and dropped.
    """
    return drop_superseded(tuple(keep), dry_run=dry_run)


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(prune_cache)
