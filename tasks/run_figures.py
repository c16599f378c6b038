"""The figures of a scoring run that the next run into the same folder is compared with."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.scoring_types import ScoringParameters, ShardOutcome

REPORT = "report.html"
FIGURES_FILE = "report.json"


class RunFigures(BaseModel):
    """What a scoring run did, in numbers; no text of a row is in it.

    Attributes:
        started: When the run began.
        model_uri: The pipeline version that answered.
        engine: What computed the transformer.
        metrics: The numbers of the summary, as MLflow has them.
        labels: Rows by predicted label.
        languages: Rows by detected language.
        reasons: Rejected rows by step and reason.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
    """

    model_config = ConfigDict(frozen=True)  # what a later version adds is ignored

    started: datetime
    model_uri: str
    engine: str
    metrics: dict[str, float]
    labels: dict[str, int] = {}
    languages: dict[str, int] = {}
    reasons: dict[str, int] = {}
    scores: tuple[int, ...] = ()


class LoggedRun(BaseModel):
    """A scoring run's record in MLflow.

    Attributes:
        run_id: The MLflow run.
        report_url: Where its report opens in MLflow's UI; empty if it could not be made.
        report_error: Why there is no report, or not all of it; empty if there is.
        figures: What the run did.
        previous: What the run before it into the same folder did, if there was one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    report_url: str
    report_error: str
    figures: RunFigures
    previous: RunFigures | None


def figures_of(
    parameters: ScoringParameters,
    summary: Mapping[str, Any],
    outcomes: Sequence[ShardOutcome],
    started: datetime,
) -> RunFigures:
    """Return the figures of a run.

    Args:
        parameters: What the shards were scored with.
        summary: What `tasks.summary.summarise` returned.
        outcomes: One for each shard.
        started: When the run began.
    """
    scores = [outcome.record.scores for outcome in outcomes if outcome.record is not None]
    return RunFigures(
        started=started,
        model_uri=parameters.model.uri,
        engine=summary["engine"],
        metrics=dict(_metrics(summary)),
        labels=summary["labels"],
        languages=summary["languages"],
        reasons=summary["rejected_because"],
        scores=tuple(map(sum, zip(*scores, strict=True))),
    )


def _metrics(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
        elif name == "model_calls_avoided":
            yield from _metrics(value, prefix=f"{name}_by_")
