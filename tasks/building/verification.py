"""Verify a logged pipeline: compare its predictions with those of its fine-tuned models."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import numpy as np
from tqdm import tqdm

from pyfunc.pipeline import refusal_reason
from tasks.building.packaging import EXAMPLES
from tasks.building.types import LoggedMember, LoggedPipeline, tolerance
from tasks.common.errors import ModelError
from tasks.measures.calibration import scores_at
from tasks.tracking.fresh_process import run_with_version
from tasks.tracking.mlflow_client import connect
from tasks.tracking.runs import failed_if_refused
from tasks.training.finetuned_model import downloaded_classifier, quiet_transformers
from tasks.training.logged_rows import load_test_rows
from tasks.training.reference import open_reference

logger = logging.getLogger(__name__)

Scores = dict[str, float]

_CHECKED_ROWS = 32
_CHECK_TIMEOUT_S = 300
_SCRIPT = Path(__file__).with_name("verification_script.py")


def verify_pipeline(logged: LoggedPipeline) -> None:
    """Load a pipeline without the project's code and compare it with its fine-tuned models.

    A new process imports nothing but the artifact and predicts example texts. transformers predicts
    them with the registered fine-tuned models. The run of a pipeline that is refused ends as
    failed.

    Raises:
        ModelError: If the process fails, or a score differs by more than `tolerance`.
    """
    client = connect()
    with failed_if_refused(client, logged.run_id):
        gaps = _score_gaps(logged)
    client.log_metric(logged.run_id, "check_max_score_difference", max(gaps))
    logger.info(
        "checked in a process of its own: %d texts get the scores of %s",
        len(gaps),
        ", ".join(dict.fromkeys(member.finetuned_model_uri for member in logged.members.values())),
    )


def _score_gaps(logged: LoggedPipeline) -> list[float]:
    texts = [*EXAMPLES, *_test_texts(logged)]
    with tqdm(total=1 + len(logged.members), desc="check", unit="models", disable=None) as bar:
        answers: list[str] = run_with_version(
            _SCRIPT, logged.model_uri, texts, timeout_s=_CHECK_TIMEOUT_S
        )
        bar.update()
        references: dict[str, list[Scores]] = {}
        for name, member in logged.members.items():
            references[name] = _reference_scores(member, texts)
            bar.update()
    return [
        max(_member_gaps(logged, row, answer, {name: references[name][row] for name in references}))
        for row, answer in enumerate(answers)
    ]


def _test_texts(logged: LoggedPipeline) -> Iterator[str]:
    """Yield test rows of each member's training, `_CHECKED_ROWS` in all."""
    runs = dict.fromkeys(member.training_run_id for member in logged.members.values())
    for run_id in runs:
        rows = load_test_rows(run_id)["text"]
        # Rows of an earlier training may hold texts that the pipeline refuses.
        yield from rows[rows.map(refusal_reason) == ""].head(_CHECKED_ROWS // len(runs))


def _reference_scores(member: LoggedMember, texts: list[str]) -> list[Scores]:
    """Return the probability of each label by the fine-tuned model, text by text."""
    if member.engine == "static":
        return _static_scores(member, texts)
    quiet_transformers()
    classify = mlflow.transformers.load_model(member.finetuned_model_uri)
    options = {"truncation": True, "max_length": member.max_tokens, "top_k": None}
    answers = []
    for text in texts:
        found = classify(text, function_to_apply="none", **options)
        logits = np.array([[label["score"] for label in found]])
        scores = scores_at(logits, member.temperature)[0].tolist()
        answers.append({label["label"]: score for label, score in zip(found, scores, strict=True)})
    return answers


def _static_scores(member: LoggedMember, texts: list[str]) -> list[Scores]:
    with downloaded_classifier(member.finetuned_model_uri) as folder:
        model = open_reference(folder, max_tokens=member.max_tokens)
        scores = scores_at(model.logits(texts), member.temperature).tolist()
    return [dict(zip(model.labels, row, strict=True)) for row in scores]


def _member_gaps(
    logged: LoggedPipeline, row: int, answer: str, references: Mapping[str, Scores]
) -> Iterator[float]:
    """Yield how far the score of each member that answered is from the reference.

    Raises:
        ModelError: If one is too far, or the row was refused.
    """
    for name, (label, score) in _answers_of_members(logged, row, answer).items():
        member, reference = logged.members[name], references[name]
        expected = max(reference, key=lambda one: reference[one])
        found = reference[expected] if score is None else score
        # Not compared by label: the scores of two labels may be equal within the tolerance.
        gap = abs(found - reference.get(label, 0.0))
        # Not `gap > …`, which a NaN would pass.
        if not gap <= tolerance(member.precision, member.temperature):
            raise ModelError(
                f"{logged.model_uri}: row {row} of the check: {label} {found:.6f}; expected what "
                f"{member.finetuned_model_uri} says: {expected} {reference[expected]:.6f}"
            )
        yield gap


def _answers_of_members(
    logged: LoggedPipeline, row: int, answer: str
) -> dict[str, tuple[str, float | None]]:
    """Return label and score of each member that answered; that of a plain pipeline has none."""
    if logged.kind == "plain":
        return {str(logged.answer): (answer, None)}
    document = json.loads(answer)
    if (response := document["response"]) is None:
        raise ModelError(
            f"{logged.model_uri}: row {row} of the check: refused in the step "
            f"{document['error']['step']}; expected an answer"
        )
    if isinstance(logged.answer, str):
        label, score = response["prediction_label"], float(response["prediction_score"])
        return {logged.answer: (label, score)}
    members = document["model_metadata"]["members"]
    return {found["name"]: (found["label"], float(found["score"])) for found in members}
