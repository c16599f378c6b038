"""Report, and if asked to free, what is no longer needed."""

from typing import Any

from prefect import flow

from flows.parameters import described
from tasks.maintenance.prefect_tasks import (
    clean_checkpoints,
    clean_downloads,
    clean_outputs,
    clean_versions,
    report_cleaning,
)
from tasks.maintenance.types import (
    Apply,
    CleanupResult,
    KeepVersions,
    Kinds,
    Limits,
    OlderThanDays,
    OutputFolders,
    choose_kinds,
    resolve_output_dirs,
)

LIMITS = Limits()


@flow(name="clean-up")
@described
def clean_up(
    apply: Apply = LIMITS.apply,
    kinds: Kinds = ("all",),
    keep_versions: KeepVersions = LIMITS.keep_versions,
    older_than_days: OlderThanDays = LIMITS.older_than_days,
    output_dirs: OutputFolders = (),
) -> dict[str, Any]:
    """Report what is no longer needed, and free it if asked to.

    Nothing is freed that an alias, the record of an output that stays, or a pipeline that stays
    refers to. The folders of outputs are freed whole, but for what Millstream did not write.

    Returns:
        The summary: items and bytes of each kind, what stays and why, and each item by name.
    """
    limits = Limits(
        apply=apply,
        keep_versions=keep_versions,
        older_than_days=older_than_days,
        output_dirs=resolve_output_dirs(output_dirs),
    )
    todo = choose_kinds(kinds)
    outputs = clean_outputs(limits) if "outputs" in todo else CleanupResult(kind="outputs")
    found = [outputs] if "outputs" in todo else []
    if "versions" in todo:
        found.append(clean_versions(limits, outputs))
    if "checkpoints" in todo:
        found.append(clean_checkpoints(limits))
    if "downloads" in todo:
        found.append(clean_downloads(limits))
    return report_cleaning(tuple(found), applied=apply)


if __name__ == "__main__":
    from flows.command_line import run

    run(clean_up)
