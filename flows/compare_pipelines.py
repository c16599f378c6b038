"""Compare two versions of the inference pipeline on the same rows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.comparison_requests import ComparisonRequest
from flows.parameters import described, form, record_from
from flows.project_defaults import READING, with_project
from flows.score_shards import score_shards
from tasks.common.console import print_table
from tasks.common.settings import get_settings
from tasks.common.task_errors import reporting_failures
from tasks.comparison import types as comparing
from tasks.comparison.prefect_tasks import compare_rows, find_versions, measure_speed
from tasks.ingestion import text_format
from tasks.inputs.types import Inputs
from tasks.output.row_parameters import InputLabelColumn, InputTextColumn, RowParameters
from tasks.promotion import types as promoting
from tasks.promotion.prefect_tasks import choose_champion_on_traffic, complete_earlier_promotion
from tasks.reports.prefect_tasks import publish_comparison
from tasks.scoring.types import OPTIONS, ShardRows

ROWS = with_project(RowParameters)


@reporting_failures
@form(
    "inputs",
    "challenger",
    "champion",
    "text_column",
    "label_column",
    last=("shard_rows", "separator", "encoding", "header"),
)
@flow(name="compare-pipelines")
@described
def compare_pipelines(
    inputs: Inputs = (),
    challenger: comparing.OtherVersion = "challenger",
    champion: comparing.PresentVersion = "champion",
    outputs: comparing.ComparedOutputs = (),
    output_dir: comparing.ComparedFolder = "",
    text_column: InputTextColumn = ROWS.text_column,
    label_column: InputLabelColumn = None,
    shard_rows: ShardRows = OPTIONS.shard_rows,
    examples: comparing.FlipExamples = 5,
    promotion: promoting.TrafficPromotion = "never",
    max_flips: promoting.MaxFlips = promoting.BOUNDS.max_flips,
    max_new_rejects: promoting.MaxNewRejects = promoting.BOUNDS.max_new_rejects,
    min_speed: promoting.MinSpeed = promoting.BOUNDS.min_speed,
    max_memory: promoting.MaxMemory = promoting.BOUNDS.max_memory,
    separator: text_format.Separator = READING.separator,
    encoding: text_format.Encoding = READING.encoding,
    header: text_format.Header = READING.header,
) -> dict[str, Any]:
    """Compare a version with the present one, row by row on the same files.

    Both score the files like any run, so that a comparison that was killed goes on, and one that is
    made again takes the answers from the cache.

    Returns:
        The report: agreement, flips, rejected rows, accuracies with the exact test, speed.
    """
    given, started = locals(), datetime.now(UTC)
    request = record_from(ComparisonRequest, given)
    if promotion != "never":
        complete_earlier_promotion()  # else its version would be both champion and challenger
    if request.outputs:
        present, other = request.folders
    else:
        folder = Path(output_dir) if output_dir else get_settings().root / "compared"
        present, other = folder / "champion", folder / "challenger"
        reading = {name: given[name] for name in text_format.ReadOptions.model_fields}
        versions = find_versions(champion, challenger)
        if not versions:
            return _nothing_compared()
        for version, side in zip(versions, (present, other), strict=True):
            score_shards(
                request.inputs,
                str(side),
                version.uri,
                text_column=text_column,
                label_column=label_column,
                shard_rows=shard_rows,
                report_examples=examples,
                attach_mib=0,  # the folders have them, and examples=0 is to leave no text in MLflow
                **reading,
            )
    choice = comparing.RowChoice(of_last_run=not request.outputs, label_column=label_column or "")
    found = compare_rows(present, other, choice, examples)
    speeds = measure_speed(present, found)
    report = comparing.ComparisonReport(comparison=found, speeds=speeds, compared=started)
    shown = publish_comparison(report, flow_run.id or "")
    if promotion != "never":
        bounds = record_from(promoting.Bounds, given)
        shown |= choose_champion_on_traffic(report, promotion, bounds).model_dump()
    print_table("Compared pipelines", shown)
    return shown


def _nothing_compared() -> dict[str, Any]:
    shown = {"alias": None, "reason": "no version is challenger"}
    print_table("Compared pipelines", shown)
    return shown


if __name__ == "__main__":
    from flows.command_line import run

    run(
        compare_pipelines,
        request=ComparisonRequest,
        continues="with the shards that are left",
    )
