"""Compare the challenger with the champion by the sample that it answered, night after night."""

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
from tasks.comparison.prefect_tasks import measure_speed
from tasks.output.row_parameters import InputLabelColumn
from tasks.promotion import types as promoting
from tasks.promotion.prefect_tasks import choose_champion_on_traffic, complete_earlier_promotion
from tasks.reports.prefect_tasks import publish_comparison
from tasks.shadow.prefect_tasks import compare_shadow_rows, find_shadow
from tasks.shadow.types import ShadowedOutput


@reporting_failures
@form("output_dir", "label_column", "promotion", "min_days")
@flow(name="compare-shadow")
@described
def compare_shadow(
    output_dir: ShadowedOutput = OUTPUT,
    challenger: comparing.OtherVersion = "challenger",
    champion: comparing.PresentVersion = "champion",
    label_column: InputLabelColumn = None,
    min_days: promoting.MinDays = promoting.BOUNDS.min_days,
    promotion: promoting.TrafficPromotion = "never",
    max_flips: promoting.MaxFlips = promoting.BOUNDS.max_flips,
    max_new_rejects: promoting.MaxNewRejects = promoting.BOUNDS.max_new_rejects,
    min_speed: promoting.MinSpeed = promoting.BOUNDS.min_speed,
    max_memory: promoting.MaxMemory = promoting.BOUNDS.max_memory,
    examples: comparing.FlipExamples = 5,
) -> dict[str, Any]:
    """Compare a version with the present one by the rows that it answered in its shadow.

    Returns:
        The report: days, agreement, flips, accuracies, and what was decided.
    """
    given, started = locals(), datetime.now(UTC)
    request = record_from(ShadowRequest, given)
    if promotion != "never":
        complete_earlier_promotion()  # else its version would be both champion and challenger
    shadow = find_shadow(request.folder, champion, challenger)
    if shadow.reason:
        report: dict[str, Any] = {"days": 0, "alias": None, "reason": shadow.reason}
        print_table("Compared shadow", report)
        return report
    found = compare_shadow_rows(request.folder, shadow, label_column or "", examples)
    speeds = measure_speed(request.folder, found)
    compared = comparing.ComparisonReport(comparison=found, speeds=speeds, compared=started)
    report = publish_comparison(compared, flow_run.id or "")
    if promotion != "never":
        bounds = record_from(promoting.Bounds, given)
        report |= choose_champion_on_traffic(compared, promotion, bounds).model_dump()
    print_table("Compared shadow", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(compare_shadow, request=ShadowRequest)
