"""Take a champion back if the version before it turns out to be better, or answers otherwise."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.comparison_requests import ShadowRequest
from flows.parameters import described, form, record_from
from flows.project_defaults import OUTPUT
from tasks.common.console import print_table
from tasks.common.task_errors import reporting_failures
from tasks.comparison import types as comparing
from tasks.output.row_parameters import InputLabelColumn
from tasks.promotion import types as promoting
from tasks.promotion.prefect_tasks import complete_earlier_promotion, take_back_if_worse
from tasks.reports.prefect_tasks import publish_comparison
from tasks.shadow.prefect_tasks import compare_shadow_rows, find_shadow
from tasks.shadow.types import ShadowedOutput
from tasks.tracking.names import CHAMPION, PREVIOUS


@reporting_failures
@form("output_dir", "label_column", "max_flips")
@flow(name="watch-champion")
@described
def watch_champion(
    output_dir: ShadowedOutput = OUTPUT,
    label_column: InputLabelColumn = None,
    max_flips: promoting.AuditedFlips = promoting.AUDITED_FLIPS,
    examples: comparing.FlipExamples = 5,
) -> dict[str, Any]:
    """Compare the champion with the one before it, and go back to that if it is better.

    The version before answers a sample of the rows for a while, if score-shards has the shadow
    previous.

    Returns:
        The report: agreement, flips, accuracies, and whether the champion was taken back.
    """
    given, started = locals(), datetime.now(UTC)
    request = record_from(ShadowRequest, given)
    complete_earlier_promotion()
    shadow = find_shadow(request.folder, CHAMPION, PREVIOUS)
    report: dict[str, Any] = {"taken_back": False, "reason": shadow.reason}
    if not shadow.reason:
        found = compare_shadow_rows(request.folder, shadow, label_column or "", examples)
        compared = comparing.ComparisonReport(comparison=found, speeds=None, compared=started)
        report = publish_comparison(compared, flow_run.id or "")
        report |= take_back_if_worse(compared, max_flips).model_dump()
    print_table("Watched champion", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(watch_champion, request=ShadowRequest)
