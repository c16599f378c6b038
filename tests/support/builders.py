"""Builders of test fixtures: trained models, artifacts and pipelines."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Never

import mlflow
import pandas as pd
import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from prefect import flow

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.classifier import Classifier
from pyfunc.engines.torch import TorchEngine
from pyfunc.pipeline import InferencePipeline
from pyfunc.spec import MemberSpec, PipelineKind, PipelineSpec, Precision, Variant
from tasks.common.settings import REPOSITORY, get_settings
from tasks.composition.types import (
    EngineChoice,
    PipelineParameters,
    PipelinePlan,
    PlannedMember,
)
from tasks.learning.backbone import Backbone
from tasks.learning.parent import read_parent
from tasks.promotion.types import Rule
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL, RegisteredModel
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of
from tasks.training.logged_rows import log_rows_again
from tasks.training.mlflow_run import log_model
from tasks.training.types import STATIC

# Prefix of a command that a test interrupts: children of a test run in the background of a shell
# inherit that SIGINT is ignored.
HEEDING_INTERRUPTS = ("/usr/bin/env", "--default-signal=INT")

_MEMBER = MemberSpec("models:/dl_finetuned_model/1", "model", 16, (Variant("torch", "f32"),))


@dataclass(frozen=True)
class Trained:
    """A state folder with a registered pipeline, and the reports of its flows."""

    home: Path
    training: dict[str, Any]
    pipeline: dict[str, Any]


@dataclass(frozen=True)
class Composed:
    """A state folder with a composed pipeline: its version, and the fine-tuned one inside."""

    home: Path
    finetuned: str
    uri: str


def use_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the settings name this state folder."""
    monkeypatch.setenv("MILLSTREAM_HOME", str(folder))
    # mlflow.set_tracking_uri sets it.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # MLflow remembers the folder of each run, and the runs of a copy have those of its original.
    _artifact_repos_cache.clear()
    get_settings.cache_clear()


def train_tiny(base_model: Path | str, data: Path, **parameters: Any) -> dict[str, Any]:
    """Run train_classifier with settings for a tiny model, in seconds."""
    from flows.train_classifier import train_classifier

    settings: dict[str, Any] = {
        "source": str(data),
        "base_model": str(base_model),
        "sample_size": 0,
        "epochs": 2,
        "min_steps": 0,
        "learning_rate": 5e-3,
        "max_tokens": 32,
        "checkpoint_steps": 5,
    }
    report: dict[str, Any] = train_classifier(**settings | parameters)
    return report


def train_unevaluated(base_model: Path | str, data: Path, **parameters: Any) -> dict[str, Any]:
    """Train a tiny model for a test of what comes after it, without its evaluation and report."""
    steps = ["download_data", "split_data", "fine_tuning_model", "register_model"]
    return train_tiny(base_model, data, steps=steps, **parameters)


@flow(name="build-unverified")
def build_unverified(
    finetuned_model: str, rule: Rule = "if_better", **parameters: Any
) -> dict[str, Any]:
    """Build as the flow does, but without the check in a new process and without a conversion.

    Both take longer than all the rest.
    """
    from tasks.building import prefect_tasks as building
    from tasks.promotion import prefect_tasks as promotion

    exact = {"engine": _exact_engine(finetuned_model), "precision": "f32"}
    wanted = PipelineParameters.model_validate(exact | parameters)
    logged = building.log_pipeline(building.plan_pipeline(finetuned_model, wanted))
    registered = building.register_pipeline(logged)
    decision = promotion.choose_champion(registered, rule)
    return {
        "inference_pipeline_model": registered.uri,
        "reused": registered.reused,
        **decision.model_dump(),
    }


def damage_head(finetuned: RegisteredModel) -> RegisteredModel:
    """Register a transformer as it is, but for the rows of its last weights: these are swapped."""
    parent = read_parent(finetuned)
    experiment = parent.run.info.experiment_id
    with (
        downloaded_classifier(parent.model_uri) as folder,
        mlflow.start_run(experiment_id=experiment) as run,
    ):
        backbone = Backbone(folder, max_tokens=max_tokens_of(folder), name=finetuned.uri)
        backbone.set_weights(backbone.weights()[:, ::-1].copy())
        mlflow.log_params(parent.run.data.params)
        log_rows_again(parent.run.info.run_id, [])
        uri = log_model(backbone.model, backbone.tokenizer, parent.split, parent.parameters)
    return registry.register_version(FINETUNED_MODEL, uri, run_id=run.info.run_id)


def _exact_engine(finetuned_model: str) -> EngineChoice:
    """Return the engine that computes a fine-tuned model as it is."""
    version = registry.find_version(FINETUNED_MODEL, finetuned_model)
    trained_from = connect().get_run(str(version.run_id)).data.params["base_model"]
    return "auto" if trained_from == STATIC else "torch"


def build_trained(base_model: Path, data: Path) -> dict[str, Any]:
    """Run train_classifier and build_inference_pipeline with a tiny model; return their reports."""
    from flows.build_inference_pipeline import build_inference_pipeline

    training = train_tiny(base_model, data)
    pipeline = build_inference_pipeline(finetuned_model=training["finetuned_model"])
    return {"training": training, "pipeline": pipeline}


def finetuned_of(trained: Trained) -> RegisteredModel:
    """Return the fine-tuned version of a pipeline."""
    name, version = trained.training["finetuned_model"].removeprefix("models:/").split("/")
    return RegisteredModel(name=name, version=int(version))


def plan_of(trained: Trained, parameters: PipelineParameters) -> PipelinePlan:
    """Return the plan of a pipeline of the fine-tuned version in a home."""
    return PipelinePlan.of(finetuned_of(trained), parameters)


# Of which each member answers some texts, each operator is one, and one member decides none.
COMPOSITION: dict[str, Any] = {
    "route": {"label_of": "kind"},
    "to": {"positive": {"cascade": ["quick", "film"], "least": 0.97}},
    "else": {"average": ["quick", "film"], "weights": [1, 3]},
}


def build_composed(answer: object, members: Mapping[str, tuple[str, int]]) -> str:
    """Build and register a composed pipeline, without the check in a new process.

    Args:
        answer: Who answers, as in a composition file.
        members: The fine-tuned version of each member, and how many tokens it reads.
    """
    from tasks.building import packaging

    planned = {
        name: PlannedMember(
            finetuned=RegisteredModel.from_uri(uri),
            max_tokens=tokens,
            engine=_exact_engine(uri),
            precision="f32",
        )
        for name, (uri, tokens) in members.items()
    }
    plan = PipelinePlan.model_validate({"kind": "full", "members": planned, "answer": answer})
    logged = packaging.log_pipeline(plan)
    registered = registry.register_version(
        PIPELINE_MODEL,
        logged.model_uri,
        run_id=logged.run_id,
        tags=packaging.version_tags(logged),
    )
    return registered.uri


def with_refused_rows(run_id: str) -> str:
    """Return a run like that of an earlier training, which took texts that are refused."""
    from tasks.training.logged_rows import load_test_rows
    from tasks.training.types import TEMPERATURE

    rows = load_test_rows(run_id)
    refused = pd.DataFrame({"text": ["\u200b", "\x00"], "label": ["positive", "negative"]})
    earlier = connect().get_run(run_id)
    experiment = earlier.info.experiment_id
    with TemporaryDirectory() as folder, mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_metric(TEMPERATURE, earlier.data.metrics[TEMPERATURE])
        path = Path(folder) / "test.parquet"
        pd.concat([refused, rows], ignore_index=True).to_parquet(path, index=False)
        mlflow.log_artifact(str(path), "data")
    found: str = run.info.run_id
    return found


def torch_classifier(
    folder: Path, *, max_tokens: int = 16, precision: Precision = "f32"
) -> Classifier:
    """Load a fine-tuned model with the torch engine."""
    return Classifier(folder, TorchEngine(folder, precision), max_tokens=max_tokens)


def single_spec(kind: PipelineKind = "full", **settings: Any) -> PipelineSpec:
    """Return the spec of a pipeline of one model; `settings` are fields of `MemberSpec`."""
    return PipelineSpec(kind, {"model": replace(_MEMBER, **settings)}, "model")


def weights_of(artifact: Path) -> Path:
    """Return the folder of the only member of a pipeline's artifact."""
    return artifact / "members" / "model"


def copy_package(artifact: Path) -> None:
    """Copy the code that ships into the artifact of a pipeline."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "pyfunc", artifact / "pyfunc", ignore=ignore)


def build_artifact(
    folder: Path,
    classifier: Path,
    *,
    converted: Path | None = None,
    kind: PipelineKind = "full",
    **settings: Any,
) -> Path:
    """Write the artifact of a pipeline of one model; `settings` are fields of `MemberSpec`."""
    copy_package(folder)
    shutil.copytree(classifier, weights_of(folder) / "classifier")
    if converted is not None:
        shutil.copytree(converted, weights_of(folder) / "openvino")
    single_spec(kind, **settings).write(folder)
    return folder


def ask_pipeline(
    pipeline: InferencePipeline,
    texts: Sequence[object],
    *,
    use_cache: bool = True,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> list[dict[str, Any]]:
    """Return a pipeline's documents, parsed as strict JSON."""
    answers = pipeline.predict(texts, use_cache=use_cache, batch_tokens=batch_tokens)
    return [json.loads(answer, parse_constant=_refuse_constant) for answer in answers]


def _refuse_constant(name: str) -> Never:
    raise AssertionError(f"{name} is no JSON")
