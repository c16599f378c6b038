"""A logged pipeline's answers, where it is alone, beside the fine-tuned model's own."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
from tqdm import tqdm

from tasks.building.packaging import EXAMPLES
from tasks.building.types import LoggedPipeline
from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.tracking.mlflow_client import connect
from tasks.training.finetuned_model import quiet_transformers
from tasks.training.logged_rows import load_test_rows

logger = logging.getLogger(__name__)

_CHECKED_ROWS = 32
# Softmax scores of one text move this far with the company in its batch; those of int8 with the
# rounding, of which its gate says more.
TOLERANCE = {"f32": 1e-5, "bf16": 1e-2, "int8": 0.3}
_CHECK_TIMEOUT_S = 300


def check(logged: LoggedPipeline) -> None:
    """Load a pipeline in a process that has nothing but the artifact, and compare its answers.

    They must be the fine-tuned model's own, as transformers computes them from the registered
    version, within the tolerance of the precision.

    Raises:
        ModelError: If the process fails or an answer differs.
    """
    connect()
    texts = [*EXAMPLES, *load_test_rows(logged.training_run_id)["text"].head(_CHECKED_ROWS)]
    with tqdm(total=2, desc="check", unit="models", disable=None) as bar:
        answers = _ask_fresh_process(logged.model_uri, texts)
        bar.update()
        own_answers = _own_answers(logged, texts)
        bar.update()
    gaps = [
        _score_gap(logged, row, answer, own)
        for row, (answer, own) in enumerate(zip(answers, own_answers, strict=True))
    ]
    connect().log_metric(logged.run_id, "check_max_score_difference", max(gaps))
    logger.info("%d answers of a fresh process agree, scores within %.1e", len(texts), max(gaps))


def _ask_fresh_process(model_uri: str, texts: list[str]) -> list[str]:
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


def _own_answers(logged: LoggedPipeline, texts: list[str]) -> list[dict[str, float]]:
    """Return the probability of each label, text by text."""
    quiet_transformers()
    own = mlflow.transformers.load_model(logged.finetuned_model_uri)
    return [
        {
            found["label"]: float(found["score"])
            for found in own(text, truncation=True, max_length=logged.max_tokens, top_k=None)
        }
        for text in texts
    ]


def _score_gap(logged: LoggedPipeline, row: int, answer: str, own: dict[str, float]) -> float:
    likeliest = max(own, key=lambda label: own[label])
    if logged.kind == "plain":  # a bare label
        label, score = answer, own[likeliest]
    else:
        response = json.loads(answer)["response"]
        label, score = response["prediction_label"], float(response["prediction_score"])
    # Two labels may be as good as equal; of any other, the fine-tuned model's score is far off.
    gap = abs(score - own.get(label, 0.0))
    # Not `gap > …`, which a NaN would pass.
    if not gap <= TOLERANCE[logged.precision]:
        raise ModelError(
            f"{logged.model_uri}: row {row} of the check: {label} {score:.6f}; expected what "
            f"{logged.finetuned_model_uri} says: {likeliest} {own[likeliest]:.6f}"
        )
    return gap
