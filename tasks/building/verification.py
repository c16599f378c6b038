"""Verify a logged pipeline: compare its predictions with those of its fine-tuned model."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from tqdm import tqdm

from pyfunc.pipeline import refusal_reason
from tasks.building.packaging import EXAMPLES
from tasks.building.types import LoggedPipeline, tolerance
from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.measures.calibration import scores_at
from tasks.tracking.mlflow_client import connect
from tasks.tracking.runs import failed_if_refused
from tasks.training.finetuned_model import quiet_transformers
from tasks.training.logged_rows import load_test_rows

logger = logging.getLogger(__name__)

_CHECKED_ROWS = 32
_CHECK_TIMEOUT_S = 300


def verify_pipeline(logged: LoggedPipeline) -> None:
    """Load a pipeline without the project's code and compare it with its fine-tuned model.

    A new process imports nothing but the artifact and predicts example texts. transformers predicts
    them with the registered fine-tuned model. The run of a pipeline that is refused ends as failed.

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
        logged.finetuned_model_uri,
    )


def _score_gaps(logged: LoggedPipeline) -> list[float]:
    rows = load_test_rows(logged.training_run_id)["text"]
    # Rows of an earlier training may hold texts that the pipeline refuses.
    texts = [*EXAMPLES, *rows[rows.map(refusal_reason) == ""].head(_CHECKED_ROWS)]
    with tqdm(total=2, desc="check", unit="models", disable=None) as bar:
        answers = _predict_in_fresh_process(logged.model_uri, texts)
        bar.update()
        references = _reference_answers(logged, texts)
        bar.update()
    return [
        _score_gap(logged, row, answer, reference)
        for row, (answer, reference) in enumerate(zip(answers, references, strict=True))
    ]


def _predict_in_fresh_process(model_uri: str, texts: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="millstream-") as name:
        folder = Path(name)
        question, answer = folder / "question.json", folder / "answer.json"
        question.write_text(json.dumps(texts), encoding="utf-8")
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": get_settings().tracking_uri,
            "MILLSTREAM_HOME": name,
        }
        script = Path(__file__).with_name("verification_script.py")
        process = subprocess.run(
            [sys.executable, "-I", str(script), model_uri, str(question), str(answer)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
        if process.returncode != 0:
            reason = (process.stderr.strip() or "no message").splitlines()[-1]
            raise ModelError(f"{model_uri}: does not work in a fresh process: {reason}")
        answers: list[str] = json.loads(answer.read_text(encoding="utf-8"))
        return answers


def _reference_answers(logged: LoggedPipeline, texts: list[str]) -> list[dict[str, float]]:
    """Return the probability of each label by the fine-tuned model, text by text."""
    quiet_transformers()
    classify = mlflow.transformers.load_model(logged.finetuned_model_uri)
    options = {"truncation": True, "max_length": logged.max_tokens, "top_k": None}
    answers = []
    for text in texts:
        found = classify(text, function_to_apply="none", **options)
        logits = np.array([[label["score"] for label in found]])
        scores = scores_at(logits, logged.temperature)[0].tolist()
        answers.append({label["label"]: score for label, score in zip(found, scores, strict=True)})
    return answers


def _score_gap(logged: LoggedPipeline, row: int, answer: str, reference: dict[str, float]) -> float:
    expected = max(reference, key=lambda label: reference[label])
    if logged.kind == "plain":  # a bare label
        label, score = answer, reference[expected]
    else:
        document = json.loads(answer)
        if (response := document["response"]) is None:
            raise ModelError(
                f"{logged.model_uri}: row {row} of the check: refused in the step "
                f"{document['error']['step']}; expected {expected}"
            )
        label, score = response["prediction_label"], float(response["prediction_score"])
    # Not compared by label: the scores of two labels may be equal within the tolerance.
    gap = abs(score - reference.get(label, 0.0))
    # Not `gap > …`, which a NaN would pass.
    if not gap <= tolerance(logged.precision, logged.temperature):
        raise ModelError(
            f"{logged.model_uri}: row {row} of the check: {label} {score:.6f}; expected what "
            f"{logged.finetuned_model_uri} says: {expected} {reference[expected]:.6f}"
        )
    return gap
