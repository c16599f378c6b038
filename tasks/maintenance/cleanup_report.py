"""The report of a clean-up: summarised, printed and published as a Prefect artifact."""

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from tasks.common.console import format_markdown, print_table
from tasks.maintenance.types import CleanupResult, Leftover

_SHOWN_PER_KIND = 10


def publish_cleanup(found: Sequence[CleanupResult], *, applied: bool) -> dict[str, Any]:
    """Print a table, create a Prefect artifact in a run, and return the summary.

    Args:
        found: One result for each kind.
        applied: Whether the leftovers were freed.
    """
    summary = summarise_cleanup(found, applied=applied)
    shown: dict[str, Any] = {cleaned.kind: summary[cleaned.kind] for cleaned in found}
    shown |= {f"kept_{kind}": reasons for kind, reasons in summary["kept"].items()}
    shown |= {"notes": summary["notes"]} if summary["notes"] else {}
    for cleaned in found:
        shown |= _leftover_lines(cleaned)
    title = "Cleaned up" if applied else "Dry run: nothing was freed; --apply frees it"
    if FlowRunContext.get():
        create_markdown_artifact(
            key="clean-up", markdown=format_markdown(title, shown), description="What is not needed"
        )
    print_table(title, shown)
    return summary


def summarise_cleanup(found: Sequence[CleanupResult], *, applied: bool) -> dict[str, Any]:
    """Return `applied`, `items` and `bytes` by kind, `notes` and all leftovers.

    `kept` counts what stays, by kind and reason.
    """
    return {
        "applied": applied,
        **{str(cleaned.kind): _sum_leftovers(cleaned.leftovers) for cleaned in found},
        "kept": {str(cleaned.kind): cleaned.kept for cleaned in found if cleaned.kept},
        "notes": [note for cleaned in found for note in cleaned.notes],
        "leftovers": [leftover.model_dump() for c in found for leftover in c.leftovers],
    }


def _sum_leftovers(leftovers: Sequence[Leftover]) -> dict[str, int]:
    return {"items": len(leftovers), "bytes": sum(leftover.bytes for leftover in leftovers)}


def _leftover_lines(cleaned: CleanupResult) -> dict[str, str]:
    """Return a line for each of the largest leftovers, and one with the number of the others."""
    largest = sorted(cleaned.leftovers, key=lambda leftover: -leftover.bytes)
    lines = {
        f"{leftover.kind} {number}": f"{leftover.name} ({leftover.bytes} bytes, "
        f"{leftover.days:.1f} days): {leftover.why}"
        for number, leftover in enumerate(largest[:_SHOWN_PER_KIND], start=1)
    }
    more = len(largest) - _SHOWN_PER_KIND
    return lines | ({f"more {cleaned.kind}": str(more)} if more > 0 else {})
