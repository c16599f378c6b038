"""Move the alias champion by hand, also back."""

from typing import Any

from prefect import flow

from tasks.building.prefect_tasks import promote
from tasks.common.console import print_table


@flow(name="promote-pipeline")
def promote_pipeline(version: str = "challenger", reason: str = "by hand") -> dict[str, Any]:
    """Make a version of inference_pipeline_model the champion, whatever its figures.

    Args:
        version: A number, an alias, a URI, or previous for the champion before the present one.
        reason: Written on the version.

    Returns:
        The report: the version that is champion now.
    """
    promoted = promote(version, reason)
    report = {"champion": promoted.uri, "reason": reason}
    print_table("Promoted pipeline", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(promote_pipeline)
