"""Sum up a scoring run: the summary, its table, and `manifest.json`."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.arms.deciders import count_deciders
from tasks.arms.summary import arm_lines, summarise_arms
from tasks.common.console import print_table
from tasks.common.counting import count_values, sum_counts
from tasks.common.files import published_file
from tasks.inputs.types import FoundInputs, Surveyed
from tasks.output.folder import output_errors
from tasks.output.records import ShardRecord
from tasks.scoring.previous_failures import remaining_failures
from tasks.scoring.types import THREADS, ScoringParameters, ShardOutcome

_SHOWN = 10

# Of a shard, through the model: fewer take longer each, as those that a cold engine begins with.
STEADY_CALLS = 50

# Fields of the printed table that are there only if they have something to say.
_EXCEPTIONS = (
    "engine_fallback",
    "rows_failed",
    "shards_left",
    "left_because",
    "rejected_because",
    "failures",
    "cache_failures",
    "retried",
    "files_settling",
    "files_removed",
    "row_warnings",
    "rows_without_key",
    "refused_workers",
)


def publish_manifest(
    parameters: ScoringParameters,
    inputs: FoundInputs,
    surveys: Sequence[Surveyed],
    outcomes: Sequence[ShardOutcome],
    started: datetime,
) -> dict[str, Any]:
    """Write `manifest.json`, print a table, and return the summary.

    Args:
        parameters: What the shards were scored with.
        inputs: The files that were found, settling and gone.
        surveys: One for each file, with its warnings.
        outcomes: One for each shard, failed ones included.
        started: When the run began.

    Raises:
        OutputError: If the output folder cannot be written.
    """
    seconds = (datetime.now(UTC) - started).total_seconds()
    summary = summarise_outcomes(parameters, outcomes, seconds=seconds) | {
        "files_settling": list(inputs.settling),
        "files_removed": list(inputs.removed),
        "row_warnings": row_warnings(surveys),
    }
    manifest = {
        "summary": summary,
        "parameters": parameters.model_dump(mode="json"),
        "shards": [outcome.model_dump(mode="json") for outcome in outcomes],
        "still_failed": [
            failure.model_dump(mode="json")
            for failure in remaining_failures(parameters.output_dir, outcomes)
        ],
    }
    with (
        output_errors(parameters.output_dir),
        published_file(parameters.output_dir / "manifest.json") as draft,
    ):
        draft.write_text(json.dumps(manifest, indent=2, ensure_ascii=False), encoding="utf-8")
    shown = _shorten_lists(summary)
    quiet = {name for name in _EXCEPTIONS if not shown.get(name)} | {"arms"}
    rows = {name: shown[name] for name in shown if name not in quiet}
    print_table("Scored shards", rows | arm_lines(summary))
    return summary


def summarise_outcomes(
    parameters: ScoringParameters, outcomes: Sequence[ShardOutcome], *, seconds: float
) -> dict[str, Any]:
    """Return the sums over the shards that are published, and what this run saved.

    `shards_done` are all that are published, `shards_skipped` those of them that an earlier run
    did; rows, labels, languages and reasons are those of the shards done, as are the rows that each
    member of a composed pipeline decided, in `decided_by`; of a split, each arm has its own.
    `model_calls`, `cache_hits` and what was avoided are those of this run; `cache_hits` are the
    rows that another row or run had paid for.

    Args:
        parameters: What the shards were scored with.
        outcomes: One for each shard, failed ones included.
        seconds: Wall time of the run.
    """
    done = [outcome.record for outcome in outcomes if outcome.record is not None]
    skipped = [o.record for o in outcomes if o.record is not None and o.skipped]
    own = [o.record for o in outcomes if o.record is not None and not o.skipped]
    avoided = {
        "deduplication": _sum(own, "repeated"),
        "cache": _sum(own, "cached"),
        "resume": _sum(skipped, "scored"),
    }
    labelled = _sum(done, "labelled")
    summary = {
        "output_dir": str(parameters.output_dir),
        "model_uri": parameters.model.uri,
        "engine": parameters.model.engine_in_words,
        "engine_fallback": parameters.model.fallback,
        "rows_in": _sum(done, "rows_in"),
        "scored": _sum(done, "scored"),
        "rejected": _sum(done, "rejected"),
        "rows_failed": sum(outcome.rows_failed for outcome in outcomes),
        "cache_hits": avoided["deduplication"] + avoided["cache"],
        "model_calls": _sum(own, "model_calls"),
        "model_calls_avoided": avoided,
        "seconds_saved": _seconds_saved(done, sum(avoided.values())),
        "shards_total": len(outcomes),
        "shards_done": len(done),
        "shards_skipped": len(skipped),
        "shards_failed": sum(bool(outcome.error) for outcome in outcomes),
        "shards_left": sum(bool(outcome.left) for outcome in outcomes),
        "left_because": count_values(outcome.left for outcome in outcomes if outcome.left),
        "scored_because": count_values(outcome.why for outcome in outcomes if outcome.why),
        "labels": sum_counts(record.labels for record in done),
        "languages": sum_counts(record.languages for record in done),
        "rejected_because": sum_counts(record.reasons for record in done),
        "failures": {outcome.id: outcome.error for outcome in outcomes if outcome.error},
        "cache_failures": _sum(own, "cache_failures"),
        "retried": _sum(own, "retried"),
        "seconds": round(seconds, 3),
        "rows_per_second": round(_sum(own, "rows_in") / seconds, 1) if seconds else 0.0,
    }
    if parameters.runner != THREADS:
        summary |= {
            "runner": parameters.runner,
            "shards_by_host": count_values(record.host for record in own),
            "refused_workers": list(parameters.refused_workers),
        }
    if parameters.model.rules_digest:
        summary["rules_digest"] = parameters.model.rules_digest
    if failed_lookups := _sum(done, "lookup_failures"):
        summary["rows_with_failed_lookups"] = failed_lookups
    summary |= _deliveries(parameters, outcomes)
    split = parameters.rows.traffic
    if parameters.is_composed and split is None:
        summary["decided_by"] = count_deciders(done, parameters.model)
    if parameters.rows.review_below:
        summary["needs_review"] = _sum(done, "needs_review")
    if labelled:
        summary["labelled"] = labelled
        summary["unknown_labels"] = _sum(done, "unknown_labels")
        summary["accuracy"] = _sum(done, "correct") / labelled
    if split is not None:
        summary |= summarise_arms(parameters.models, split, done, own)
    return summary


def _deliveries(parameters: ScoringParameters, outcomes: Sequence[ShardOutcome]) -> dict[str, Any]:
    """Return what was delivered to each table; nothing if there is none."""
    fields: dict[str, Any] = {}
    for target in map(str, parameters.targets.values()):
        found = [d for o in outcomes for d in o.deliveries if d.target == target]
        fields[target] = {
            "rows": sum(delivery.rows for delivery in found),
            "shards": sum(not delivery.error for delivery in found),
            "shards_skipped": sum(delivery.skipped for delivery in found),
            "shards_failed": sum(bool(delivery.error) for delivery in found),
            "values_replaced": sum(delivery.replaced for delivery in found),
            "failures": {d.shard: d.error for d in found if d.error},
        }
    return {"delivered": fields} if fields else {}


def _shorten_lists(summary: dict[str, Any]) -> dict[str, Any]:
    """Leave out all but a few of many failures and files; the manifest has them all."""
    failures = list(summary["failures"].items())
    more = len(failures) - _SHOWN
    shown = dict(failures[:_SHOWN]) | ({"more": more} if more > 0 else {})
    names = ("files_settling", "files_removed", "row_warnings")
    short = {name: _first_names(summary[name]) for name in names} | {"failures": shown}
    if delivered := summary.get("delivered"):
        short["delivered"] = {table: _shorten_failures(found) for table, found in delivered.items()}
    return summary | short


def _shorten_failures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was delivered to a table, with the first failure alone and no zeros."""
    shown = {name: value for name, value in found.items() if value or name == "rows"}
    failures = shown.pop("failures", {})
    return shown | ({"first_failure": next(iter(failures.values()))} if failures else {})


def row_warnings(surveys: Iterable[Surveyed]) -> list[str]:
    """Return the warnings on rows that look wrong and are scored all the same."""
    return [text for found in surveys if found.survey for text in found.survey.warnings]


def _first_names(names: list[str]) -> list[str]:
    more = len(names) - _SHOWN
    return [*names[:_SHOWN], *([f"{more} more"] if more > 0 else [])]


def seconds_a_call(records: Iterable[ShardRecord]) -> float | None:
    """Return the time of the clock that a text took in the model, or None if too few went through.

    Only shards count in which at least `STEADY_CALLS` did. Shards that are scored at the same time
    wait for each other's texts, so that the sum over them counts the same seconds several times.
    """
    records = [record for record in records if record.counts.model_calls >= STEADY_CALLS]
    calls, busy = _sum(records, "model_calls"), sum(record.seconds for record in records)
    if not calls or not busy:
        return None
    share_of_clock = _covered_seconds(records) / busy
    return sum(record.model_seconds for record in records) * share_of_clock / calls


def _covered_seconds(records: Iterable[ShardRecord]) -> float:
    """Return for how long at least one of the shards was being scored."""
    covered, end = 0.0, -math.inf
    for start, seconds in sorted((r.started.timestamp(), r.seconds) for r in records):
        covered += max(0.0, start + seconds - max(start, end))
        end = max(end, start + seconds)
    return covered


def _seconds_saved(done: Sequence[ShardRecord], avoided: int) -> float | None:
    """Return the time that avoided calls would have taken; None if too few were measured."""
    # Not as this run measured it alone, which may have made no call.
    measured = seconds_a_call(done)
    return None if measured is None else round(measured * avoided, 6)


def _sum(records: Iterable[ShardRecord], field: str) -> int:
    return sum(getattr(record.counts, field) for record in records)
