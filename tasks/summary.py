"""What a scoring run did: summed up, printed, kept as a manifest and a Prefect artifact."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.console import as_rows, print_table
from tasks.files import published_file
from tasks.scoring import ScoringParameters, ShardResult


def publish(
    parameters: ScoringParameters, results: tuple[ShardResult, ...], *, seconds: float
) -> dict[str, Any]:
    """Write `manifest.json`, leave a Prefect artifact, print a table, and return the summary.

    Args:
        parameters: What the shards were scored with.
        results: One for each shard, failed ones included.
        seconds: Wall time of the run.
    """
    summary = summarise(parameters, results, seconds=seconds)
    manifest = {
        "summary": summary,
        "parameters": parameters.model_dump(mode="json"),
        "shards": [result.model_dump(mode="json") for result in results],
    }
    with published_file(parameters.output_dir / "manifest.json") as draft:
        draft.write_text(json.dumps(manifest, indent=2, ensure_ascii=False), encoding="utf-8")
    create_markdown_artifact(
        key="scoring-summary", markdown=_as_markdown(summary), description="What was scored"
    )
    print_table("Scored shards", summary)
    return summary


def summarise(
    parameters: ScoringParameters, results: tuple[ShardResult, ...], *, seconds: float
) -> dict[str, Any]:
    """Return the sums over the shards that were published, and how many failed.

    `model_calls` counts the texts that went through the transformer.
    """
    done = [result for result in results if result.error is None]
    scored = sum(result.scored for result in done)
    cache_hits = sum(result.cache_hits for result in done)
    return {
        "output_dir": str(parameters.output_dir),
        "model_uri": parameters.model_uri,
        "rows_in": sum(result.rows_in for result in done),
        "scored": scored,
        "rejected": sum(result.rejected for result in done),
        "cache_hits": cache_hits,
        "model_calls": scored - cache_hits,
        "shards_total": len(results),
        "shards_done": len(done),
        "shards_skipped": 0,
        "shards_failed": len(results) - len(done),
        "labels": _added(result.labels for result in done),
        "languages": _added(result.languages for result in done),
        "failures": {result.id: result.error for result in results if result.error},
        "seconds": round(seconds, 3),
        "rows_per_second": round(scored / seconds, 1) if seconds else 0.0,
    }


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def _as_markdown(summary: dict[str, Any]) -> str:
    cells = [(name, value.replace("|", "\\|")) for name, value in as_rows(summary)]
    rows = [f"| {name} | {value} |" for name, value in cells]
    return "\n".join(["# Scored shards", "", "| | |", "|---|---|", *rows])
