"""Log a learning from feedback to MLflow: metrics, record and report."""

from collections.abc import Iterator
from typing import Any

import mlflow

from tasks.common.settings import get_settings
from tasks.feedback.choosing import load_feedback
from tasks.feedback.prequential import prequential, select_tests
from tasks.pages.page import render_page
from tasks.promotion.learnt import read_gate
from tasks.reports.learning_report import LearningFigures, learning_page
from tasks.reports.types import REPORT, LearningRun
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, ensure_experiment, git_commit, report_url
from tasks.tracking.names import LEARNING_EXPERIMENT
from tasks.tracking.runs import killed_if_interrupted

_RECORD = "learning.json"


def log_learning(run: LearningRun, flow_run_id: str) -> tuple[str, str]:
    """Log what became of feedback to MLflow, with its record and report.

    A run that brought nothing new, as a schedule makes it again and again, is logged once.

    Returns:
        The MLflow run, and the address of the report.

    Raises:
        DataError: If a batch of the store is damaged.
        MlflowException: If MLflow cannot be reached or its database is locked.
    """
    client, experiment = connect(), ensure_experiment(LEARNING_EXPERIMENT)
    outcome = {
        "champion_uri": run.champion.uri,
        "learnt_uri": run.learnt.pipeline.uri if run.learnt else "",
        "alias": (run.learnt and run.learnt.decision.alias) or "",
        "store_digest": run.collected.store_digest,
    }
    if not run.collected.taken:
        same = [f"tags.{name} = '{value}'" for name, value in outcome.items()]
        found = client.search_runs(
            [experiment], " and ".join(["attributes.status = 'FINISHED'", *same]), max_results=1
        )
        if found:
            run_id = str(found[0].info.run_id)
            return run_id, report_url(experiment, run_id, REPORT)
    figures = _measure(run)
    active = mlflow.start_run(
        experiment_id=experiment,
        run_name=f"learnt {run.learnt.pipeline.uri if run.learnt else 'nothing'}",
        tags=outcome | {"prefect_flow_run_id": flow_run_id, "git_commit": git_commit()},
    )
    with killed_if_interrupted(active) as logged:
        run_id = str(logged.info.run_id)
        mlflow.log_metrics(dict(_metrics(run, figures)))
        mlflow.log_dict(_record(run, figures), _RECORD)
        mlflow.log_text(render_page(learning_page(run, figures)), REPORT)
    return run_id, report_url(experiment, run_id, REPORT)


def _measure(run: LearningRun) -> LearningFigures:
    rows = load_feedback(get_settings().feedback_store, run.choices).rows
    tests = select_tests(rows)
    found = prequential(tests.rows)
    gate = None
    if run.learnt:
        pipeline = run.learnt.pipeline
        gate = read_gate(registry.get_version(pipeline.name, pipeline.version))
    accuracies = dict(sorted(found.items(), key=lambda version: version[1][0].first))
    return LearningFigures(accuracies, tests.known, tests.unchecked, gate)


def _metrics(run: LearningRun, figures: LearningFigures) -> Iterator[tuple[str, float]]:
    yield "taken_in", run.collected.taken
    yield "said_before", run.collected.duplicates
    yield "refused", sum(run.collected.refused.values())
    yield "labels", run.chosen.labels
    yield "labels_to_learn", sum(member.labels for member in run.chosen.members.values())
    yield "labels_held_out", run.chosen.held_out
    yield from run.chosen.left_out.model_dump().items()
    if windows := figures.accuracies.get(run.champion.uri):
        yield "running_labels", windows[-1].labels_so_far
        yield "running_accuracy", windows[-1].accuracy_so_far
        yield "last_window_accuracy", windows[-1].accuracy
    if gate := figures.gate:
        for name, group in (("test", gate.test), ("feedback", gate.feedback)):
            yield f"{name}_rows", group.rows
            yield f"{name}_accuracy", group.learnt
            yield f"{name}_champion_accuracy", group.champion
        yield "feedback_p_value", gate.p_value


def _record(run: LearningRun, figures: LearningFigures) -> dict[str, Any]:
    return {
        "started": run.started.isoformat(),
        "champion": run.champion.uri,
        "choices": run.choices.model_dump(),
        "collected": run.collected.summary(),
        "chosen": run.chosen.summary(),
        "learnt": run.learnt.summary() if run.learnt else None,
        "reason": run.reason,
        "running_accuracy": {
            uri: [window.model_dump(mode="json") for window in windows]
            for uri, windows in figures.accuracies.items()
        },
        "known_to_the_version": figures.known,
        "unchecked_versions": figures.unchecked,
        "gate": figures.gate.model_dump() if figures.gate else None,
    }
