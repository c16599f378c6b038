"""Our own entrants: each engine alone, and the registered pipelines."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from benchmarks.peers import Peer
from pyfunc.cache.contents import drop_entries, entries_by_fingerprint
from pyfunc.classifier import Classifier
from pyfunc.contract import Prediction
from pyfunc.engines.engine import Engine
from pyfunc.engines.selection import open_engine, unsupported_reason
from pyfunc.errors import ArtifactError
from pyfunc.spec import Variant

_TORCH = (Variant("torch", "f32"), Variant("torch", "bf16"))
_OPENVINO = (Variant("openvino", "f32"), Variant("openvino", "bf16"), Variant("openvino", "int8"))

INT8 = "engine openvino int8"


@dataclass(frozen=True)
class Engines:
    """The engines that this machine has, loaded once.

    Attributes:
        opened: By the name that the tables use.
        skipped: Why others are missing, by name.
    """

    opened: Mapping[str, Engine]
    skipped: Mapping[str, str]


def open_engines(artifact: Path, device: str) -> Engines:
    """Load every engine that the machine and the artifact have.

    Args:
        artifact: The folder `artifacts/pipeline` of a logged pipeline.
        device: On `cuda` those of torch alone.
    """
    opened: dict[str, Engine] = {}
    skipped: dict[str, str] = {}
    for variant in _TORCH if device == "cuda" else _TORCH + _OPENVINO:
        if reason := unsupported_reason(variant):
            skipped[_name(variant)] = reason
            continue
        try:
            opened[_name(variant)] = open_engine(artifact, variant)
        except ArtifactError:
            skipped[_name(variant)] = "not in the pipeline: its check at build time failed"
    return Engines(opened, skipped)


def engine_alone(name: str, engine: Engine, artifact: Path, max_tokens: int) -> Peer:
    """Return an engine with its tokenizer, and nothing around it."""
    classifier = Classifier(artifact / "classifier", engine, max_tokens=max_tokens)
    return Peer(name, "engine", classifier.predict, _labels)


def registered(name: str, model_uri: str, cache: Path) -> Peer:
    """Return a registered pipeline that finds its cache empty at each turn.

    Args:
        name: What the tables call it.
        model_uri: The version.
        cache: Folder of a prediction cache of its own.
    """
    model = mlflow.pyfunc.load_model(model_uri, model_config={"cache_dir": str(cache)})

    def ask(texts: list[str], *, use_cache: bool = True) -> Any:
        return model.predict(pd.DataFrame({"text": texts}), params={"use_cache": use_cache})

    return Peer(
        name,
        "pyfunc",
        ask,
        _labels_of_documents,
        prepare=lambda: empty(cache),
        warm_up=lambda texts: ask(texts, use_cache=False),
    )


def empty(cache: Path) -> None:
    """Delete all that a prediction cache holds; who has it open keeps it open."""
    drop_entries(cache, entries_by_fingerprint(cache))


def _name(variant: Variant) -> str:
    return f"engine {variant}"


def _labels(predictions: list[Prediction]) -> list[str]:
    return [prediction.label for prediction in predictions]


def _labels_of_documents(answers: Any) -> list[str]:
    return [json.loads(document)["response"]["prediction_label"] for document in answers["text"]]
