"""Things that several tests need made."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import pytest
import torch

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.classifier import Classifier
from pyfunc.engines.torch import TorchEngine
from pyfunc.pipeline import InferencePipeline
from pyfunc.spec import PipelineKind, PipelineSpec, Precision, Variant
from tasks.common.settings import REPOSITORY, get_settings
from tasks.tracking.names import RegisteredModel

# Before a command that a test interrupts: in a test run that a shell started in the background,
# SIGINT is ignored, and children inherit that.
HEEDING_INTERRUPTS = ("/usr/bin/env", "--default-signal=INT")


@dataclass(frozen=True)
class Trained:
    """A state folder with a registered pipeline, and the reports of the flows that made it."""

    home: Path
    training: dict[str, Any]
    pipeline: dict[str, Any]


def use_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a state folder be the one that the settings name."""
    monkeypatch.setenv("MILLSTREAM_HOME", str(folder))
    # mlflow.set_tracking_uri leaves it behind.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    get_settings.cache_clear()


def train_tiny(base_model: Path, data: Path, **parameters: Any) -> dict[str, Any]:
    """Run train_classifier with settings that a tiny model learns from in seconds."""
    from flows.train_classifier import train_classifier

    settings: dict[str, Any] = {
        "source": str(data),
        "base_model": str(base_model),
        "sample_size": 0,
        "epochs": 2,
        "learning_rate": 5e-3,
        "max_tokens": 32,
        "checkpoint_steps": 5,
    }
    report: dict[str, Any] = train_classifier(**settings | parameters)
    return report


def build_trained(home: Path, base_model: Path, data: Path) -> Trained:
    """Run train_classifier and build_inference_pipeline with a tiny model."""
    from flows.build_inference_pipeline import build_inference_pipeline

    training = train_tiny(base_model, data)
    pipeline = build_inference_pipeline(finetuned_model=training["finetuned_model"])
    return Trained(home=home, training=training, pipeline=pipeline)


def finetuned_of(trained: Trained) -> RegisteredModel:
    """Return the fine-tuned version that a pipeline was made from."""
    name, version = trained.training["finetuned_model"].removeprefix("models:/").split("/")
    return RegisteredModel(name=name, version=int(version))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Compute on one thread; two that wait for each other on busy cores take 30 times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def torch_classifier(
    folder: Path, *, max_tokens: int = 16, precision: Precision = "f32"
) -> Classifier:
    """Load a fine-tuned model to be computed by torch."""
    return Classifier(folder, TorchEngine(folder, precision), max_tokens=max_tokens)


def build_artifact(
    folder: Path,
    classifier: Path,
    *,
    kind: PipelineKind = "full",
    max_tokens: int = 16,
    variants: tuple[Variant, ...] = (Variant("torch", "f32"),),
    converted: Path | None = None,
    finetuned_model_uri: str = "models:/dl_finetuned_model/1",
) -> Path:
    """Lay out what a pipeline's model carries: settings, classifier, code, `converted` model."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "pyfunc", folder / "pyfunc", ignore=ignore)
    shutil.copytree(classifier, folder / "classifier")
    if converted is not None:
        shutil.copytree(converted, folder / "openvino")
    PipelineSpec(kind, finetuned_model_uri, max_tokens, variants).write(folder)
    return folder


def ask_pipeline(
    pipeline: InferencePipeline,
    texts: Sequence[object],
    *,
    use_cache: bool = True,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> list[dict[str, Any]]:
    """Return a pipeline's documents, parsed as strictly as JSON is defined."""
    answers = pipeline.predict(texts, use_cache=use_cache, batch_tokens=batch_tokens)
    return [json.loads(answer, parse_constant=_refuse_constant) for answer in answers]


def _refuse_constant(name: str) -> Never:
    raise AssertionError(f"{name} is no JSON")
