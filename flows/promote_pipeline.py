"""Move the alias champion to a version by hand, also back to the previous one."""

from typing import Annotated, Any

from prefect import flow

from flows.parameters import described
from tasks.common.console import print_table
from tasks.common.parameter_types import about
from tasks.common.task_errors import reporting_failures
from tasks.promotion.prefect_tasks import promote_version

Version = Annotated[
    str, about("A number, an alias, a URI, or previous for the champion before the present one.")
]
Reason = Annotated[str, about("Written on the version.")]


@reporting_failures
@flow(name="promote-pipeline")
@described
def promote_pipeline(version: Version = "challenger", reason: Reason = "by hand") -> dict[str, Any]:
    """Make a version of inference_pipeline_model the champion, whatever its metrics.

    Returns:
        The report: the version that is champion now.
    """
    promoted = promote_version(version, reason)
    report = {"champion": promoted.uri, "reason": reason}
    print_table("Promoted pipeline", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(promote_pipeline)
