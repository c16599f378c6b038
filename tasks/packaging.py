"""The inference pipeline as one MLflow model: wrapped, logged, and checked where it is alone."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from tqdm import tqdm

from pyfunc.classifier import DEFAULT_BATCH_TOKENS
from pyfunc.fingerprint import fingerprint_pipeline
from pyfunc.spec import PipelineSpec
from tasks.classifiers import classifier_folder, max_tokens_of, quiet_transformers
from tasks.errors import ModelError
from tasks.evaluation import test_rows
from tasks.pipelines import EXPERIMENT, REGISTERED_NAME, LoggedPipeline, PipelineParameters
from tasks.settings import REPOSITORY, get_settings
from tasks.tracking import connect, experiment_id, git_commit, package_versions, pinned
from tasks.training import RegisteredModel

logger = logging.getLogger(__name__)

PACKAGE = REPOSITORY / "pyfunc"

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]),
    outputs=Schema([ColSpec(DataType.string, "text")]),
    params=ParamSchema(
        [
            ParamSpec("use_cache", DataType.boolean, True),
            ParamSpec("batch_tokens", DataType.long, DEFAULT_BATCH_TOKENS),
        ]
    ),
)

REQUIREMENTS = ("diskcache", "gcld3", "mlflow", "pandas", "platformdirs", "torch", "transformers")

EXAMPLES = ("what a disappointing movie", "Great movie", "Great movie", "很好看的电影")

_CHECKED_ROWS = 32
# Softmax scores of one text move this far with the company in its batch.
TOLERANCE = {"f32": 1e-5, "bf16": 1e-2}
_CHECK_TIMEOUT_S = 300


def log(
    finetuned: RegisteredModel, parameters: PipelineParameters, package: Path = PACKAGE
) -> LoggedPipeline:
    """Wrap a fine-tuned version and log it; an equal pipeline is logged once.

    Args:
        finetuned: A version of `dl_finetuned_model`.
        parameters: What shapes the pipeline.
        package: Folder of the code to ship.

    Raises:
        ModelError: If the version is gone or of another kind.
    """
    client = connect()
    training_run_id = client.get_model_version(finetuned.name, str(finetuned.version)).run_id
    with classifier_folder(finetuned.uri) as classifier, tempfile.TemporaryDirectory() as name:
        spec = PipelineSpec(
            kind=parameters.pipeline,
            finetuned_model_uri=finetuned.uri,
            max_tokens=parameters.max_tokens or max_tokens_of(classifier),
            precision=parameters.precision,
        )
        folder = _stage(Path(name) / "pipeline", package, classifier, spec)
        fields = {
            "kind": spec.kind,
            "fingerprint": fingerprint_pipeline(folder / "pyfunc", folder / "classifier", spec),
            "finetuned_model_uri": finetuned.uri,
            "training_run_id": training_run_id,
            "labels": _labels(classifier),
            "max_tokens": spec.max_tokens,
            "precision": spec.precision,
        }
        if earlier := _find_logged(fields):
            return earlier
        return _log_folder(folder, fields)


def check(logged: LoggedPipeline) -> None:
    """Load a pipeline in a process that has nothing but the artifact, and compare its answers.

    They must be the fine-tuned model's own, as transformers computes them from the registered
    version: equal labels, scores within the tolerance of the precision.

    Raises:
        ModelError: If the process fails or an answer differs.
    """
    connect()
    texts = [*EXAMPLES, *test_rows(logged.training_run_id)["text"].head(_CHECKED_ROWS)]
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


def version_tags(logged: LoggedPipeline) -> dict[str, str]:
    """Return the tags of a registered pipeline version."""
    fields = logged.model_dump(exclude={"run_id", "model_uri", "reused"})
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    } | {"git_commit": git_commit()}


def _stage(folder: Path, package: Path, classifier: Path, spec: PipelineSpec) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, folder / "pyfunc", ignore=ignore)
    shutil.copytree(classifier, folder / "classifier")
    spec.write(folder)
    return folder


def _labels(classifier: Path) -> tuple[str, ...]:
    config = json.loads((classifier / "config.json").read_text(encoding="utf-8"))
    return tuple(label for _, label in sorted(config["id2label"].items(), key=lambda i: int(i[0])))


def _find_logged(fields: dict[str, Any]) -> LoggedPipeline | None:
    runs = connect().search_runs(
        [experiment_id(EXPERIMENT)],
        filter_string=f"tags.fingerprint = '{fields['fingerprint']}' "
        f"and tags.finetuned_model_uri = '{fields['finetuned_model_uri']}' "
        f"and tags.kind = '{fields['kind']}' and tags.model_uri LIKE 'models:/%'",
        max_results=1,
    )
    if not runs:
        return None
    model_uri = runs[0].data.tags["model_uri"]
    logger.info("reusing %s: equal code, weights and parameters", model_uri)
    return LoggedPipeline(run_id=runs[0].info.run_id, model_uri=model_uri, reused=True, **fields)


def _log_folder(folder: Path, fields: dict[str, Any]) -> LoggedPipeline:
    tags = {name: fields[name] for name in ("fingerprint", "finetuned_model_uri", "kind")}
    with mlflow.start_run(
        experiment_id=experiment_id(EXPERIMENT),
        run_name=f"{fields['kind']}-{fields['fingerprint'][:8]}",
        tags=tags | {"git_commit": git_commit()},
    ) as run:
        mlflow.log_params({name: fields[name] for name in ("max_tokens", "precision")})
        mlflow.log_dict(package_versions(), "packages.json")
        info = mlflow.pyfunc.log_model(
            name=REGISTERED_NAME,
            python_model=str(folder / "pyfunc" / "model.py"),
            artifacts={"pipeline": str(folder)},
            signature=SIGNATURE,
            input_example=pd.DataFrame({"text": EXAMPLES}),
            # Only keys that are logged can be set when the model is loaded.
            model_config={"cache_dir": "", "cache_size_limit": ""},
            pip_requirements=pinned(*REQUIREMENTS),
        )
        model_uri = f"models:/{info.model_id}"
        mlflow.set_tag("model_uri", model_uri)
    return LoggedPipeline(run_id=run.info.run_id, model_uri=model_uri, **fields)


def _ask_fresh_process(model_uri: str, texts: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="millstream-") as name:
        folder = Path(name)
        question, answer = folder / "question.json", folder / "answer.json"
        question.write_text(json.dumps(texts), encoding="utf-8")
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": get_settings().tracking_uri,
            "MILLSTREAM_HOME": name,
        }
        script = REPOSITORY / "tasks" / "fresh_process.py"
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


def _own_answers(logged: LoggedPipeline, texts: list[str]) -> list[dict[str, Any]]:
    quiet_transformers()
    own = mlflow.transformers.load_model(logged.finetuned_model_uri)
    return [own(text, truncation=True, max_length=logged.max_tokens)[0] for text in texts]


def _score_gap(logged: LoggedPipeline, row: int, answer: str, own: dict[str, Any]) -> float:
    if logged.kind == "plain":  # a bare label
        label, score = answer, own["score"]
    else:
        response = json.loads(answer)["response"]
        label, score = response["prediction_label"], response["prediction_score"]
    gap = abs(float(score) - float(own["score"]))
    # Not `gap > …`, which a NaN would pass.
    if label != own["label"] or not gap <= TOLERANCE[logged.precision]:
        raise ModelError(
            f"{logged.model_uri}: row {row} of the check: {label} {score:.6f}; expected what "
            f"{logged.finetuned_model_uri} says: {own['label']} {own['score']:.6f}"
        )
    return gap
