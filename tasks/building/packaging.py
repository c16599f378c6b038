"""Package the inference pipeline as one MLflow model, unless an equal one is logged already."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.business.spec import BusinessSpec
from pyfunc.composition.tree import deciders_of, has_open_thresholds
from pyfunc.composition.tree_json import to_json
from pyfunc.detectors.selection import DETECTORS
from pyfunc.engines.selection import has_cuda
from pyfunc.fingerprint import digest_code
from tasks.building.artifact import build_artifact
from tasks.building.build_records import COMPLETE_TAG, GATE_KEYS_TAG, PLAN, RECORD, read_record
from tasks.building.detector_files import open_for_build
from tasks.building.members import DownloadedMember, downloaded_members
from tasks.building.openvino_conversion import QUANTISATION_RULE
from tasks.building.types import BuiltPipeline, Gate, LoggedPipeline
from tasks.common.settings import REPOSITORY
from tasks.composition.composition_file import check_labels
from tasks.composition.thresholds import THRESHOLD_RULE
from tasks.composition.types import CompositionCheck, PipelinePlan
from tasks.tracking.logged_models import is_usable
from tasks.tracking.mlflow_client import (
    connect,
    ensure_experiment,
    git_commit,
    package_versions,
    pip_requirements,
)
from tasks.tracking.names import ANSWER_TAG, BUILDING_EXPERIMENT, MEMBERS_TAG, PIPELINE_MODEL
from tasks.tracking.pipeline_members import Origin
from tasks.tracking.runs import killed_if_interrupted

logger = logging.getLogger(__name__)

PACKAGE = REPOSITORY / "pyfunc"

_PARAMETERS_OF_PREDICT = ParamSchema(
    [
        ParamSpec("use_cache", DataType.boolean, True),
        ParamSpec("batch_tokens", DataType.long, DEFAULT_BATCH_TOKENS),
        ParamSpec("all_scores", DataType.boolean, False),
    ]
)

REQUIREMENTS = ("diskcache", "mlflow", "pandas", "platformdirs")
_REQUIREMENTS_OF_TRANSFORMERS = ("openvino", "torch", "transformers")
_REQUIREMENTS_OF_BUSINESS_LOGIC = ("psycopg", "psycopg-binary", "pyarrow", "sqlalchemy")
_REQUIREMENTS_OF_STATIC_MODELS = ("numpy", "safetensors", "tokenizers")

# Of a member: what may be too long for a tag, and what later builds read in the record.
_NO_TAGS = {"labels", "gate_key", "folder", "converted", "taken_over_from"}

_PARAMETERS = ("max_tokens", "temperature", "engine", "precision")

EXAMPLES = ("what a disappointing movie", "Great movie", "Great movie", "很好看的电影")


def log_pipeline(plan: PipelinePlan, package: Path = PACKAGE) -> LoggedPipeline:
    """Wrap fine-tuned versions as a pipeline and log it, or return an equal one logged before.

    Args:
        plan: What the pipeline is made of.
        package: Folder of the code to ship.

    Raises:
        ModelError: If a version is gone or no transformers model, or if none of the engines that
            the plan allows a member passes its gate.
        ParameterError: If the labels of members do not fit together, or the detector cannot be
            opened here.
    """
    detector = open_for_build(plan.detector)
    with downloaded_members(plan) as downloaded, tempfile.TemporaryDirectory() as name:
        labels = {member: found.labels for member, found in downloaded.items()}
        check_labels(plan.answer, labels, plan.file)
        key = _build_key(plan, downloaded, package)
        if earlier := _find_equal_pipeline(key):
            return earlier
        folder = Path(name) / "pipeline"
        built = build_artifact(folder, plan, downloaded, detector, package)
        return _log_artifact(folder, key, built, plan)


def signature_of(business: BusinessSpec | None) -> ModelSignature:
    """Return the signature of a pipeline: a text, and columns that look-ups and rules read.

    These are optional and of any type: a key may be a number or a text.
    """
    others = business.input_columns if business else ()
    anything = AnyType()  # type: ignore[no-untyped-call]
    columns = [ColSpec(anything, name, required=False) for name in others]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text"), *columns]),
        outputs=Schema([ColSpec(DataType.string, "text")]),
        params=_PARAMETERS_OF_PREDICT,
    )


def required_packages(built: BuiltPipeline) -> list[str]:
    """Return the packages that a pipeline needs; static models need those of no transformer."""
    kinds: set[tuple[str, ...]] = {
        _REQUIREMENTS_OF_STATIC_MODELS
        if member.engine == "static"
        else _REQUIREMENTS_OF_TRANSFORMERS
        for member in built.members.values()
    }
    if built.business is not None:
        kinds.add(_REQUIREMENTS_OF_BUSINESS_LOGIC)
    return sorted({*REQUIREMENTS, *chain.from_iterable(kinds)})


def version_tags(logged: LoggedPipeline) -> dict[str, str]:
    """Return the tags of a registered pipeline version; its labels may be too many for a tag."""
    fields: dict[str, Any] = {
        "kind": logged.kind,
        "fingerprint": logged.fingerprint,
        "detector": logged.detector,
        **logged.taken_over,
    }
    if logged.rules_digest:
        fields["rules_digest"] = logged.rules_digest
    if (single := logged.single) is not None:
        fields |= single.model_dump(mode="json", exclude=_NO_TAGS)
    else:
        deciders = deciders_of(logged.answer)
        origins = {
            name: Origin(
                finetuned_model_uri=member.finetuned_model_uri,
                training_run_id=member.training_run_id,
                decides=name in deciders,
            )
            for name, member in logged.members.items()
        }
        fields[MEMBERS_TAG] = {name: origin.model_dump() for name, origin in origins.items()}
        fields[ANSWER_TAG] = to_json(logged.answer)
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    } | {"git_commit": git_commit()}


def _build_key(
    plan: PipelinePlan, downloaded: Mapping[str, DownloadedMember], package: Path
) -> str:
    """Return the digest by which equal pipelines are found."""
    parts: dict[str, object] = {
        "plan": plan.model_dump(mode="json", exclude={"file": True, "business": {"rules_path"}}),
        "classifiers": {name: member.digest for name, member in downloaded.items()},
        "code": digest_code(package),
        "packages": package_versions(*DETECTORS[plan.detector].libraries),
        "cuda": has_cuda(),
    }
    if has_open_thresholds(plan.answer):
        parts["threshold_rule"] = THRESHOLD_RULE
    if any(member.precision == "int8" for member in plan.members.values()):
        parts["quantisation_rule"] = QUANTISATION_RULE
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


def _log_artifact(
    folder: Path, key: str, built: BuiltPipeline, plan: PipelinePlan
) -> LoggedPipeline:
    tags = {
        "fingerprint": built.fingerprint,
        "kind": built.kind,
        "build_key": key,
        GATE_KEYS_TAG: " ".join(sorted({found.gate_key for found in built.members.values()})),
    }
    if built.single is not None:
        tags["finetuned_model_uri"] = built.single.finetuned_model_uri
    active = mlflow.start_run(
        experiment_id=ensure_experiment(BUILDING_EXPERIMENT),
        run_name=f"{built.kind}-{built.fingerprint[:8]}",
        tags=tags | {"git_commit": git_commit()},
    )
    with killed_if_interrupted(active) as run:
        for name, member in built.members.items():
            prefix = "" if name == built.answer else f"{name}."
            shape = {f"{prefix}{key}": getattr(member, key) for key in _PARAMETERS}
            mlflow.log_params(shape)
            mlflow.log_metrics(dict(_gate_metrics(member.gates, prefix)))
        if built.check is not None:
            mlflow.log_metrics(dict(_composition_metrics(built.check)))
        libraries = DETECTORS[built.detector].libraries
        mlflow.log_param("detector", built.detector)
        mlflow.log_dict(package_versions(*libraries), "packages.json")
        info = mlflow.pyfunc.log_model(
            name=PIPELINE_MODEL,
            python_model=str(folder / "pyfunc" / "model.py"),
            artifacts={"pipeline": str(folder)},
            signature=signature_of(built.business),
            input_example=pd.DataFrame({"text": EXAMPLES}),
            # MLflow overrides only keys that were logged when it loads a model.
            model_config={"cache_dir": "", "cache_size_limit": "", "sources": {}},
            pip_requirements=pip_requirements(*required_packages(built), *libraries),
        )
        logged = LoggedPipeline(
            run_id=run.info.run_id, model_uri=f"models:/{info.model_id}", **dict(built)
        )
        mlflow.log_dict(plan.model_dump(mode="json"), PLAN)
        mlflow.log_dict(logged.model_dump(mode="json"), RECORD)
        # Last: a run with this tag has a complete model.
        mlflow.set_tag(COMPLETE_TAG, RECORD)
    return logged


def _gate_metrics(gates: Sequence[Gate], prefix: str) -> Iterator[tuple[str, float]]:
    for gate in gates:
        for name in ("agreement", "accuracy"):
            if (value := getattr(gate, name)) is not None:
                yield f"{prefix}{gate.engine}_{gate.precision}_{name}", value


def _composition_metrics(check: CompositionCheck) -> Iterator[tuple[str, float]]:
    for name in ("rows", "accuracy", "agreement", "rows_per_second"):
        yield name, getattr(check, name)
    for member, found in check.members.items():
        for name, value in found:
            if value is not None:
                yield f"{member}.{name}", value
