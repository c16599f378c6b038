"""The last words of an end-to-end run: what came out, and where to look at it."""

import shlex
from typing import Any

from tasks.common.console import print_table
from tasks.common.settings import REPOSITORY, get_settings
from tasks.pipelines import REGISTERED_NAME as PIPELINE_NAME
from tasks.training import REGISTERED_NAME as FINETUNED_NAME

_SHOWN = {
    "test_accuracy": "test accuracy",
    "finetuned_model": FINETUNED_NAME,
    "inference_pipeline_model": PIPELINE_NAME,
    "rows_in": "rows in",
    "scored": "rows scored",
    "rejected": "rows rejected",
    "cache_hits": "served from the cache",
    "shards_skipped": "shards done before",
    "output_dir": "output folder",
}


def print_overview(report: dict[str, Any]) -> None:
    """Print the figures of an end-to-end run and the commands that open the user interfaces.

    Args:
        report: What `end_to_end` returns; parts may be missing.
    """
    from tasks.registry import aliases_of

    shown = {label: report[name] for name, label in _SHOWN.items() if name in report}
    for name in (FINETUNED_NAME, PIPELINE_NAME):
        if name in shown:
            shown[name] = f"{shown[name]} {aliases_of(shown[name])}"
    shown |= {
        "look at the models": f"{_home_prefix()}make mlflow-ui",
        "look at the runs": f"{_home_prefix()}make prefect-ui",
    }
    print_table("End to end", shown)


def _home_prefix() -> str:
    root = get_settings().root
    return "" if root == REPOSITORY / "var" else f"MILLSTREAM_HOME={shlex.quote(str(root))} "
