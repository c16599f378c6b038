"""Things that several tests need made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trained:
    """A state folder with a registered pipeline, and the reports of the flows that made it."""

    home: Path
    training: dict[str, Any]
    pipeline: dict[str, Any]


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
    return train_classifier(**settings | parameters)


def build_trained(home: Path, base_model: Path, data: Path) -> Trained:
    """Run train_classifier and build_inference_pipeline with a tiny model."""
    from flows.build_inference_pipeline import build_inference_pipeline

    training = train_tiny(base_model, data)
    pipeline = build_inference_pipeline(finetuned_model=training["finetuned_model"])
    return Trained(home=home, training=training, pipeline=pipeline)
