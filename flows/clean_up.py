"""Report, and if asked to free, what is no longer needed."""

from typing import Any

from prefect import flow

from flows.parameters import described
from tasks.common.task_errors import reporting_failures
from tasks.maintenance import types as maintenance
from tasks.maintenance.prefect_tasks import (
    clean_checkpoints,
    clean_downloads,
    clean_outputs,
    clean_versions,
    report_cleaning,
)

LIMITS = maintenance.Limits()


@reporting_failures
@flow(name="clean-up")
@described
def clean_up(
    apply: maintenance.Apply = LIMITS.apply,
    kinds: maintenance.Kinds = ("all",),
    keep_versions: maintenance.KeepVersions = LIMITS.keep_versions,
    older_than_days: maintenance.OlderThanDays = LIMITS.older_than_days,
    output_dirs: maintenance.OutputFolders = (),
) -> dict[str, Any]:
    """Report what is no longer needed, and free it if asked to.

    Nothing is freed that an alias, the record of an output that stays, or a pipeline that stays
    refers to. The folders of outputs are freed whole, but for what Millstream did not write.

    Returns:
        The summary: items and bytes of each kind, what stays and why, and each item by name.
    """
    limits = maintenance.Limits(
        apply=apply,
        keep_versions=keep_versions,
        older_than_days=older_than_days,
        output_dirs=maintenance.resolve_output_dirs(output_dirs),
    )
    todo = maintenance.choose_kinds(kinds)
    outputs = (
        clean_outputs(limits) if "outputs" in todo else maintenance.CleanupResult(kind="outputs")
    )
    found = [outputs] if "outputs" in todo else []
    if "versions" in todo:
        found.append(clean_versions(limits, outputs))
    if "checkpoints" in todo:
        found.append(clean_checkpoints(limits))
    if "downloads" in todo:
        found.append(clean_downloads(limits))
    return report_cleaning(tuple(found), applied=apply)


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(clean_up)
