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


def build_trained(home: Path, base_model: Path, data: Path) -> Trained:
    """Run train_classifier and build_inference_pipeline with a tiny model."""
    from flows.build_inference_pipeline import build_inference_pipeline
    from flows.train_classifier import train_classifier

    training = train_classifier(
        source=str(data),
        base_model=str(base_model),
        sample_size=0,
        epochs=2,
        learning_rate=5e-3,
        max_tokens=32,
        checkpoint_steps=5,
    )
    pipeline = build_inference_pipeline(finetuned_model=training["finetuned_model"])
    return Trained(home=home, training=training, pipeline=pipeline)
