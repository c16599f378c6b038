"""Package the inference pipeline as one MLflow model, with the engines that pass their gates."""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.classifier import read_labels
from pyfunc.engines.selection import has_cuda, open_fastest
from pyfunc.fingerprint import digest_code, digest_folder, fingerprint_pipeline
from pyfunc.spec import PipelineSpec, Variant
from tasks.building.build_records import COMPLETE_TAG, RECORD, read_record
from tasks.building.quality_gates import Gatekeeper, candidate_variants
from tasks.building.types import Gate, LoggedPipeline, PipelineParameters
from tasks.common.errors import ModelError
from tasks.common.settings import REPOSITORY
from tasks.tracking.logged_models import is_usable
from tasks.tracking.mlflow_client import (
    connect,
    ensure_experiment,
    git_commit,
    package_versions,
    pip_requirements,
)
from tasks.tracking.names import BUILDING_EXPERIMENT, PIPELINE_MODEL, RegisteredModel
from tasks.tracking.runs import killed_if_interrupted
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of, temperature_of
from tasks.training.logged_rows import load_check_rows

logger = logging.getLogger(__name__)

PACKAGE = REPOSITORY / "pyfunc"

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]),
    outputs=Schema([ColSpec(DataType.string, "text")]),
    params=ParamSchema(
        [
            ParamSpec("use_cache", DataType.boolean, True),
            ParamSpec("batch_tokens", DataType.long, DEFAULT_BATCH_TOKENS),
            ParamSpec("all_scores", DataType.boolean, False),
        ]
    ),
)

REQUIREMENTS = (
    "diskcache",
    "gcld3",
    "mlflow",
    "openvino",
    "pandas",
    "platformdirs",
    "torch",
    "transformers",
)

_PARAMETERS = ("max_tokens", "temperature", "engine", "precision")

EXAMPLES = ("what a disappointing movie", "Great movie", "Great movie", "很好看的电影")


def log_pipeline(
    finetuned: RegisteredModel, parameters: PipelineParameters, package: Path = PACKAGE
) -> LoggedPipeline:
    """Wrap a fine-tuned version as a pipeline and log it, or return an equal one logged before.

    Args:
        finetuned: A version of `dl_finetuned_model`.
        parameters: What shapes the pipeline.
        package: Folder of the code to ship.

    Raises:
        ModelError: If the version is gone or no transformers model, or if none of the engines that
            `parameters` allow passes its gate.
        ParameterError: If the engine has no such precision.
    """
    variants = candidate_variants(parameters.engine, parameters.precision)
    client = connect()
    training_run_id = str(client.get_model_version(finetuned.name, str(finetuned.version)).run_id)
    with downloaded_classifier(finetuned.uri) as classifier, tempfile.TemporaryDirectory() as name:
        key = _build_key(finetuned, parameters, package, classifier)
        if earlier := _find_equal_pipeline(key):
            return earlier
        folder = Path(name) / "pipeline"
        shutil.copytree(package, folder / "pyfunc", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(classifier, folder / "classifier")
        max_tokens = parameters.max_tokens or max_tokens_of(classifier)
        gatekeeper = Gatekeeper(folder, max_tokens, load_check_rows(training_run_id))
        gates = gatekeeper.measure_variants(variants, parameters.precision)
        spec = PipelineSpec(
            kind=parameters.pipeline,
            finetuned_model_uri=finetuned.uri,
            max_tokens=max_tokens,
            variants=_passed_variants(gates, finetuned),
            temperature=temperature_of(training_run_id),
        )
        spec.write(folder)
        engine, _ = open_fastest(folder, spec.variants)
        fields = {
            "kind": spec.kind,
            "fingerprint": fingerprint_pipeline(folder, spec, engine),
            "finetuned_model_uri": finetuned.uri,
            "training_run_id": training_run_id,
            "labels": tuple(read_labels(classifier)),
            "max_tokens": max_tokens,
            "temperature": spec.temperature,
            "engine": engine.variant.engine,
            "precision": engine.variant.precision,
            "gates": gates,
        }
        return _log_artifact(folder, key, fields)


def version_tags(logged: LoggedPipeline) -> dict[str, str]:
    """Return the tags of a registered pipeline version; its labels may be too many for a tag."""
    fields = logged.model_dump(mode="json", exclude={"run_id", "model_uri", "reused", "labels"})
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    } | {"git_commit": git_commit()}


def _build_key(
    finetuned: RegisteredModel, parameters: PipelineParameters, package: Path, classifier: Path
) -> str:
    """Return the digest by which equal pipelines are found."""
    parts = {
        "finetuned_model_uri": finetuned.uri,
        "parameters": parameters.model_dump(),
        "code": digest_code(package),
        "classifier": digest_folder(classifier),
        "packages": package_versions(),
        "cuda": has_cuda(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _passed_variants(gates: Sequence[Gate], finetuned: RegisteredModel) -> tuple[Variant, ...]:
    passed = tuple(Variant(gate.engine, gate.precision) for gate in gates if not gate.reason)
    if not passed:
        reasons = "; ".join(f"{gate.engine} {gate.precision}: {gate.reason}" for gate in gates)
        raise ModelError(f"{finetuned.uri}: no engine can answer for it ({reasons})")
    return passed


def _find_equal_pipeline(key: str) -> LoggedPipeline | None:
    runs = connect().search_runs(
        [ensure_experiment(BUILDING_EXPERIMENT)],
        filter_string=f"tags.build_key = '{key}' and tags.{COMPLETE_TAG} LIKE '%'",
    )
    for run in runs:
        earlier = read_record(run)
        # `clean_up` deletes models and keeps their runs.
        if earlier is not None and is_usable(earlier.model_uri):
            logger.info(
                "the build is not repeated: %s has the same code, weights and parameters",
                earlier.model_uri,
            )
            return earlier.model_copy(update={"reused": True})
    return None


def _log_artifact(folder: Path, key: str, fields: dict[str, Any]) -> LoggedPipeline:
    names = ("fingerprint", "finetuned_model_uri", "kind")
    tags = {name: fields[name] for name in names} | {"build_key": key}
    active = mlflow.start_run(
        experiment_id=ensure_experiment(BUILDING_EXPERIMENT),
        run_name=f"{fields['kind']}-{fields['fingerprint'][:8]}",
        tags=tags | {"git_commit": git_commit()},
    )
    with killed_if_interrupted(active) as run:
        mlflow.log_params({name: fields[name] for name in _PARAMETERS})
        mlflow.log_metrics(dict(_gate_metrics(fields["gates"])))
        mlflow.log_dict(package_versions(), "packages.json")
        info = mlflow.pyfunc.log_model(
            name=PIPELINE_MODEL,
            python_model=str(folder / "pyfunc" / "model.py"),
            artifacts={"pipeline": str(folder)},
            signature=SIGNATURE,
            input_example=pd.DataFrame({"text": EXAMPLES}),
            # MLflow overrides only keys that were logged when it loads a model.
            model_config={"cache_dir": "", "cache_size_limit": ""},
            pip_requirements=pip_requirements(*REQUIREMENTS),
        )
        logged = LoggedPipeline(
            run_id=run.info.run_id, model_uri=f"models:/{info.model_id}", **fields
        )
        mlflow.log_dict(logged.model_dump(mode="json"), RECORD)
        # Last: a run with this tag has a complete model.
        mlflow.set_tag(COMPLETE_TAG, RECORD)
    return logged


def _gate_metrics(gates: Sequence[Gate]) -> Iterator[tuple[str, float]]:
    for gate in gates:
        for name in ("agreement", "accuracy"):
            if (value := getattr(gate, name)) is not None:
                yield f"{gate.engine}_{gate.precision}_{name}", value
