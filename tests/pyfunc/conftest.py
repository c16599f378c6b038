"""The tiny fine-tuned model as a classifier, and what transformers answers with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pyfunc.classifier import Classifier
from tests.support.builders import torch_classifier
from tests.support.references import Reference


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread() -> Iterator[None]:
    """Compute on one thread: on busy cores two take 30 times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Classifier:
    return torch_classifier(tiny_classifier)


@pytest.fixture(scope="module")
def reference(tiny_classifier: Path) -> Reference:
    return Reference(tiny_classifier)
