"""Trace one row of an output back to the code, weights and data that made its answer."""

from typing import Any

from prefect import flow

from tasks.parameters import OutputFolder, Positive
from tasks.reports.prefect_tasks import explain_row


@flow(name="explain-prediction", persist_result=False)  # it holds the text
def explain_prediction(
    output_dir: OutputFolder, shard: str, row: Positive, verify: bool = False
) -> dict[str, Any]:
    """Print the whole chain behind one row of an output.

    As a deployment it logs the chain, without the text.

    Args:
        output_dir: Folder that score_shards wrote.
        shard: The shard, as the output's column shard names it.
        row: The row, as the output's column row numbers it.
        verify: Whether to predict the row again, with the version that computed it, and compare.

    Returns:
        The chain: text, answer, versions, training run, digests and commits.
    """
    return explain_row(output_dir, shard, row, verify=verify)


if __name__ == "__main__":
    from flows.command_line import run

    run(explain_prediction)
