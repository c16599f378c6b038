"""Our competitors in the benchmark: each engine alone, and the registered pipelines."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from benchmarks.peers import Peer
from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.cache.contents import drop_entries, entries_by_fingerprint
from pyfunc.classifier import Classifier
from pyfunc.composition.tree import Node, members_of
from pyfunc.contract import Prediction
from pyfunc.engines.engine import Engine
from pyfunc.engines.selection import open_engine, unsupported_reason
from pyfunc.errors import ArtifactError
from pyfunc.opening import open_pipeline
from pyfunc.pipeline import InferencePipeline
from pyfunc.spec import FILE_NAME, PipelineSpec, Variant

_TORCH = (Variant("torch", "f32"), Variant("torch", "bf16"))
_OPENVINO = (Variant("openvino", "f32"), Variant("openvino", "bf16"), Variant("openvino", "int8"))

INT8 = "engine openvino int8"


@dataclass(frozen=True)
class Engines:
    """The engines that this machine supports.

    Attributes:
        opened: Loaded engines by name in the tables.
        skipped: Reasons of the missing ones, by name.
    """

    opened: Mapping[str, Engine]
    skipped: Mapping[str, str]


def open_engines(member: Path, device: str) -> Engines:
    """Load every engine that the machine supports and the member holds.

    Args:
        member: Folder of the only member of a logged pipeline.
        device: `cpu`, or `cuda` for torch alone.
    """
    opened: dict[str, Engine] = {}
    skipped: dict[str, str] = {}
    for variant in _TORCH if device == "cuda" else _TORCH + _OPENVINO:
        if reason := unsupported_reason(variant):
            skipped[_name(variant)] = reason
            continue
        try:
            opened[_name(variant)] = open_engine(member, variant)
        except ArtifactError:
            skipped[_name(variant)] = "not in the pipeline: its check at build time failed"
    return Engines(opened, skipped)


def engine_alone(name: str, engine: Engine, member: Path, max_tokens: int) -> Peer:
    """Return the peer of an engine with its tokenizer alone."""
    classifier = Classifier(member / "classifier", engine, max_tokens=max_tokens)
    return Peer(name, "engine", classifier.predict, _labels)


def registered(name: str, model_uri: str, cache: Path) -> Peer:
    """Return the peer of a registered pipeline, with an empty cache at each turn.

    Args:
        name: Name in the tables.
        model_uri: The version.
        cache: Folder of its prediction cache.
    """
    model = mlflow.pyfunc.load_model(model_uri, model_config={"cache_dir": str(cache)})

    def ask(texts: list[str], *, use_cache: bool = True) -> Any:
        return model.predict(pd.DataFrame({"text": texts}), params={"use_cache": use_cache})["text"]

    return _pipeline(name, ask, cache)


def answering(name: str, artifact: Path, answer: Node, scratch: Path) -> Peer:
    """Return the peer of a pipeline of an artifact's members in which another tree answers.

    Args:
        name: Name in the tables.
        artifact: Folder of a full pipeline.
        answer: Who answers; a name makes it a single-model pipeline.
        scratch: An empty folder, or none, for the pipeline and its prediction cache.
    """
    folder, cache = scratch / "pipeline", scratch / "cache"
    folder.mkdir(parents=True)
    for path in artifact.iterdir():
        if path.name != FILE_NAME:
            (folder / path.name).symlink_to(path)
    spec = PipelineSpec.read(artifact)
    members = {member: spec.members[member] for member in members_of(answer)}
    replace(spec, answer=answer, members=members).write(folder)
    pipeline = open_pipeline(folder, model_uri="", model_config={"cache_dir": str(cache)})
    if not isinstance(pipeline, InferencePipeline):
        raise TypeError(f"{artifact}: expected a full pipeline")

    def ask(texts: list[str], *, use_cache: bool = True) -> Any:
        return pipeline.predict(texts, use_cache=use_cache, batch_tokens=DEFAULT_BATCH_TOKENS)

    return _pipeline(name, ask, cache)


def empty(cache: Path) -> None:
    """Delete all entries of a prediction cache, which may be open."""
    drop_entries(cache, entries_by_fingerprint(cache))


def _pipeline(name: str, ask: Any, cache: Path) -> Peer:
    """Return the peer of a pipeline that answers with documents, with an empty cache each turn."""
    return Peer(
        name,
        "pyfunc",
        ask,
        _labels_of_documents,
        prepare=lambda: empty(cache),
        warm_up=lambda texts: ask(texts, use_cache=False),
    )


def _name(variant: Variant) -> str:
    return f"engine {variant}"


def _labels(predictions: list[Prediction]) -> list[str]:
    return [prediction.label for prediction in predictions]


def _labels_of_documents(documents: Iterable[str]) -> list[str]:
    return [json.loads(document)["response"]["prediction_label"] for document in documents]
