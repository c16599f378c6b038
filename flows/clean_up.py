"""Report, and if asked to free, what is no longer needed."""

from typing import Any

from prefect import flow

from tasks.maintenance.prefect_tasks import (
    clean_checkpoints,
    clean_downloads,
    clean_outputs,
    clean_versions,
    report_cleaning,
)
from tasks.maintenance.types import CleanupResult, Limits, choose_kinds, folders_to_look_at
from tasks.parameters import Days, KindChoice, NotNegative


@flow(name="clean-up")
def clean_up(
    apply: bool = False,
    kinds: list[KindChoice] = ["all"],  # noqa: B006 -- forms show the default
    keep_versions: NotNegative = 2,
    older_than_days: Days = 30,
    output_dirs: list[str] = [],  # noqa: B006
) -> dict[str, Any]:
    """Tell what is no longer needed, and free it if asked to.

    Nothing is freed that an alias, the record of an output that stays, or a pipeline that stays
    refers to. The folders of outputs are freed whole, but for what Millstream did not write.

    Args:
        apply: Whether to free what the report lists; without it nothing is touched.
        kinds: What to look at: old outputs, superseded versions of both registered models,
            checkpoints that no training goes on with, and what broken downloads left.
        keep_versions: Newest versions of each registered model that stay in any case.
        older_than_days: Days since its last use before something may be freed; 0 takes all.
        output_dirs: Output folders that may be freed besides those under scored in the state
            folder.

    Returns:
        The summary: items and bytes of each kind, what stays and why, and each item by name.
    """
    limits = Limits(
        apply=apply,
        keep_versions=keep_versions,
        older_than_days=older_than_days,
        output_dirs=folders_to_look_at(output_dirs),
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
