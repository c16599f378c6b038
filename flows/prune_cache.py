"""Drop the entries of superseded pipelines from the prediction cache."""

from typing import Any

from prefect import flow

from tasks.maintenance.prefect_tasks import drop_superseded


@flow(name="prune-cache")
def prune_cache(keep: list[str] = [], dry_run: bool = False) -> dict[str, Any]:  # noqa: B006
    """Drop the answers of pipelines that no alias names any more.

    Those of the champion, the challenger and the champion before it stay, so that going back
    costs nothing.

    Args:
        keep: Further versions of inference_pipeline_model to keep: numbers, aliases or URIs.
        dry_run: Whether to tell what would be dropped, and drop nothing.

    Returns:
        Entries and bytes, kept and dropped.
    """
    return drop_superseded(tuple(keep), dry_run=dry_run)


if __name__ == "__main__":
    from flows.command_line import run

    run(prune_cache)
