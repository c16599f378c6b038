"""Trace one row of an output back to the code, weights and data that made its answer."""

from typing import Annotated, Any

from prefect import flow

from flows.parameters import described
from tasks.common.parameter_types import FolderPath, Positive, about, path_of
from tasks.common.task_errors import reporting_failures
from tasks.output.place import output_place
from tasks.reports.prefect_tasks import explain_row

ScoredFolder = Annotated[
    FolderPath,
    output_place("output_dir"),
    about("Folder that score_shards wrote."),
]
ShardId = Annotated[
    str,
    path_of("shard", "a name in the output's column shard"),
    about("The shard, as the output's column shard names it."),
]
RowNumber = Annotated[Positive, about("The row, as the output's column row numbers it.")]
Verify = Annotated[
    bool, about("Whether to predict the row again, with the version that computed it, and compare.")
]


@reporting_failures
@flow(name="explain-prediction", persist_result=False)  # it holds the text
@described
def explain_prediction(
    output_dir: ScoredFolder, shard: ShardId, row: RowNumber, verify: Verify = False
) -> dict[str, Any]:
    """Print the whole chain behind one row of an output.

    As a deployment it logs the chain, without the text.

    Returns:
        The chain: text, answer, versions, training run, digests and commits.
    """
    return explain_row(output_dir, shard, row, verify=verify)


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(explain_prediction)
