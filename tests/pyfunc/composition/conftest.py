"""Members of compositions: three of the same labels, and one that tells kinds of text apart."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pyfunc.classifier import Classifier
from pyfunc.composition.members import Member
from pyfunc.engines.torch import TorchEngine
from tests.support.tiny_models import LABELS, save_tiny_classifier

KINDS = ("review", "ticket", "other")


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The weights of the members by name."""
    labels = {"one": LABELS, "two": LABELS, "three": LABELS, "kind": KINDS}
    return {
        name: save_tiny_classifier(tmp_path_factory.mktemp(name), seed=seed, labels=found)
        for seed, (name, found) in enumerate(labels.items(), start=10)
    }


@pytest.fixture(scope="package")
def members(folders: Mapping[str, Path]) -> dict[str, Member]:
    """The members, ready to predict."""
    return {
        name: Member(
            # The third cuts texts at another length; all have one tokenizer.
            Classifier(
                folder,
                TorchEngine(folder, "f32"),
                max_tokens=8 if name == "three" else 16,
                temperature=4.0,  # scores on both sides of any threshold
            ),
            f"models:/dl_finetuned_model/{number}",
        )
        for number, (name, folder) in enumerate(folders.items(), start=1)
    }
