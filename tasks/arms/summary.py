"""Sum up the arms of an A/B split over the shards of a run, and compare their accuracies."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.arms.deciders import count_deciders
from tasks.arms.types import ScoringModel
from tasks.common.counting import sum_counts
from tasks.measures.difference import difference_of_accuracies
from tasks.output.records import ArmRecord, ShardRecord
from tasks.output.traffic_split import ARMS, TrafficSplit


def summarise_arms(
    models: Sequence[ScoringModel],
    split: TrafficSplit,
    done: Sequence[ShardRecord],
    own: Sequence[ShardRecord],
) -> dict[str, Any]:
    """Return the fields of a run's summary that are there with a split.

    Rows, labels, scores, accuracies and who decided are those of the shards that are done. Cache
    hits, model calls and times are those of this run; times are sums over shards, also over those
    that were scored at the same time.

    Args:
        models: The version of each arm.
        split: The split.
        done: The records of the shards that are done.
        own: Those of them that this run scored.
    """
    shares = (1 - split.share, split.share)
    counted = [_summarise(_arm(done, name), _arm(own, name)) for name in ARMS]
    rows = sum(fields["rows_in"] for fields in counted)
    arms = {
        name: {
            "model_uri": model.uri,
            "engine": model.engine_in_words,
            "engine_fallback": model.fallback,
            "asked_share": share,
            "row_share": fields["rows_in"] / rows if rows else 0.0,
        }
        | fields
        | ({"decided_by": count_deciders(_arm(done, name), model)} if model.is_composed else {})
        for name, model, share, fields in zip(ARMS, models, shares, counted, strict=True)
    }
    without_key = sum(record.counts.without_key for record in done)
    return {"arms": arms, "rows_without_key": without_key} | _accuracy_difference(done)


def _accuracy_difference(done: Sequence[ShardRecord]) -> dict[str, float]:
    """Return the challenger's accuracy minus the control's; nothing if one has no label."""
    correct, labelled = (
        [_sum(_arm(done, name), field) for name in ARMS] for field in ("correct", "labelled")
    )
    found = difference_of_accuracies(correct, labelled)
    if found is None:
        return {}
    return {
        "accuracy_difference": found.value,
        "accuracy_difference_low": found.low,
        "accuracy_difference_high": found.high,
    }


def arm_lines(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the lines of a printed summary on the arms; the manifest has their histograms."""
    return {
        f"arm {name}": {
            key: value
            for key, value in fields.items()
            if key != "scores" and (value or key != "engine_fallback")
        }
        for name, fields in summary.get("arms", {}).items()
    }


def _arm(records: Sequence[ShardRecord], name: str) -> list[ArmRecord]:
    return [record.arms[name] for record in records]


def _summarise(done: Sequence[ArmRecord], own: Sequence[ArmRecord]) -> dict[str, Any]:
    seconds = sum(record.seconds for record in own)
    calls = _sum(own, "model_calls")
    in_model = sum(record.model_seconds for record in own)
    summary = {
        "rows_in": _sum(done, "rows_in"),
        "scored": _sum(done, "scored"),
        "rejected": _sum(done, "rejected"),
        "labels": sum_counts(record.labels for record in done),
        "scores": [sum(bins) for bins in zip(*(record.scores for record in done), strict=True)],
        "cache_hits": _sum(own, "repeated") + _sum(own, "cached"),
        "model_calls": calls,
        "model_seconds": round(in_model, 3),
        "seconds": round(seconds, 3),
        "rows_per_second": round(_sum(own, "rows_in") / seconds, 1) if seconds else 0.0,
    }
    if calls:
        summary["model_seconds_per_1000"] = round(1_000 * in_model / calls, 3)
    if labelled := _sum(done, "labelled"):
        summary["labelled"] = labelled
        summary["unknown_labels"] = _sum(done, "unknown_labels")
        summary["accuracy"] = _sum(done, "correct") / labelled
    return summary


def _sum(records: Sequence[ArmRecord], field: str) -> int:
    return sum(getattr(record.counts, field) for record in records)
