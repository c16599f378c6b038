"""Alternatives to Millstream with the same weights: transformers, MLflow, plain torch."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow
import pandas as pd
import torch
import transformers
from huggingface_hub import ModelCard
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pyfunc.batching import split_into_batches
from tasks.training.finetuned_model import quiet_transformers

Family = Literal["original", "transformers", "torch", "engine", "pyfunc"]

_PIPELINE_DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}

ORDERED_F32 = "torch f32, ordered by length"
ORDERED_BF16 = "torch bf16, ordered by length"


def as_they_are(labels: Any) -> list[str]:
    """Return a result that is the labels already, as a list."""
    return list(labels)


@dataclass(frozen=True)
class Peer:
    """A competitor of the benchmark that labels texts.

    Attributes:
        name: Name in the tables.
        family: Group of peers that it is compared in.
        run: Labels texts; timed.
        labels: Converts the result of `run` to a label a text; not timed.
        prepare: Called before each turn; not timed.
        warm_up: Called once with texts before the first turn, instead of `run`; not timed.
    """

    name: str
    family: Family
    run: Callable[[list[str]], Any]
    labels: Callable[[Any], list[str]] = as_they_are
    prepare: Callable[[], None] = lambda: None
    warm_up: Callable[[list[str]], Any] | None = None


def open_peers(classifier: Path, max_tokens: int, device: str, scratch: Path) -> Iterator[Peer]:
    """Load the peers one after the other.

    Args:
        classifier: Folder of the fine-tuned model and its tokenizer.
        max_tokens: Longer texts are truncated to this many tokens.
        device: `cpu`, or `cuda` with pipelines in half precision.
        scratch: An empty folder for MLflow's model.
    """
    quiet_transformers()
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval().to(device)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    yield row_by_row(model, tokenizer, max_tokens)
    yield pipeline(classifier, max_tokens, device, batch_size=1)
    yield pipeline(classifier, max_tokens, device, batch_size=32)
    yield mlflow_pyfunc(classifier, max_tokens, device, scratch / "mlflow-transformers")
    yield ordered_by_length(model, tokenizer, max_tokens)
    if device == "cuda":
        yield ordered_by_length(model, tokenizer, max_tokens, bf16=True)


def row_by_row(model: Any, tokenizer: Any, max_tokens: int) -> Peer:
    """Return the original algorithm: `DataFrame.apply`, a text at a time, in float32."""

    @torch.inference_mode()
    def label_of(row: Any) -> str:
        encoded = tokenizer(
            row.iloc[0], truncation=True, max_length=max_tokens, return_tensors="pt"
        )
        scores = model(**encoded.to(model.device)).logits.softmax(dim=-1)
        return str(model.config.id2label[int(scores.argmax())])

    def run(texts: list[str]) -> Any:
        return pd.DataFrame({"text": texts}).apply(label_of, axis=1)

    return Peer("the original: row by row", "original", run)


def pipeline(classifier: Path, max_tokens: int, device: str, *, batch_size: int) -> Peer:
    """Return the pipeline of transformers, in half precision on a GPU."""
    classify: Any = transformers.pipeline(
        "text-classification",
        model=str(classifier),
        tokenizer=str(classifier),
        device=device,
        dtype=_PIPELINE_DTYPES[device],
    )

    def run(texts: list[str]) -> Any:
        return classify(texts, batch_size=batch_size, truncation=True, max_length=max_tokens)

    name = f"transformers pipeline, batch {batch_size}"
    return Peer(name, "transformers", run, lambda rows: [row["label"] for row in rows])


def mlflow_pyfunc(classifier: Path, max_tokens: int, device: str, folder: Path) -> Peer:
    """Return the fine-tuned model in MLflow's transformers flavour."""
    # Only the saved `model_config` reaches the pipeline, truncation too.
    mlflow.transformers.save_model(
        transformers_model={
            "model": AutoModelForSequenceClassification.from_pretrained(
                classifier, dtype=_PIPELINE_DTYPES[device]
            ).eval(),
            "tokenizer": AutoTokenizer.from_pretrained(classifier),
        },
        path=str(folder),
        task="text-classification",
        # Without a card MLflow requests one from the Hugging Face Hub.
        model_card=ModelCard("---\npipeline_tag: text-classification\n---\n"),
        model_config={"truncation": True, "max_length": max_tokens},
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.string, "text")]),
            outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score")]),
        ),
        pip_requirements=[],
    )
    model = mlflow.pyfunc.load_model(str(folder))

    def run(texts: list[str]) -> Any:
        return model.predict(pd.DataFrame({"text": texts}))

    return Peer(
        "MLflow's transformers pyfunc", "transformers", run, lambda rows: list(rows["label"])
    )


def ordered_by_length(
    model: Any, tokenizer: Any, max_tokens: int, *, batch_tokens: int = 1_024, bf16: bool = False
) -> Peer:
    """Return an expert's plain script: tokenise, order by length, fill batches."""
    autocast = torch.autocast(model.device.type, dtype=torch.bfloat16) if bf16 else nullcontext()

    @torch.inference_mode()
    def run(texts: list[str]) -> list[str]:
        ids = tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]
        labels = [""] * len(texts)
        for rows in split_into_batches([len(row) for row in ids], batch_tokens):
            batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            with autocast:
                best = model(**batch.to(model.device)).logits.argmax(dim=-1).tolist()
            for row, label in zip(rows, best, strict=True):
                labels[row] = model.config.id2label[label]
        return labels

    return Peer(ORDERED_BF16 if bf16 else ORDERED_F32, "torch", run)
