"""The engines that compute the transformer, and which of them this machine takes."""

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .errors import ArtifactError, UnsupportedError
from .spec import Variant
from .tokens import TokenBatch

_NONE: Mapping[Variant, str] = MappingProxyType({})

Logits = npt.NDArray[np.float32]


class Engine(Protocol):
    """A transformer with its weights, ready to compute.

    Attributes:
        variant: What it is.
        device: `cpu` or `cuda`.
        callers: Threads that keep it busy by calling it at the same time.
    """

    variant: Variant
    device: str
    callers: int

    def logits(self, batch: TokenBatch) -> Logits:
        """Return the scores before the softmax, of shape (rows, labels)."""


def open_fastest(artifact: Path, variants: Sequence[Variant]) -> tuple[Engine, str]:
    """Open the engine that `choose` takes, and the next where this machine cannot compute it.

    Args:
        artifact: Folder with `classifier/`, and `openvino/` where that is among the engines.
        variants: As for `choose`.

    Returns:
        The engine, and why none of those before it, or an empty string.

    Raises:
        ArtifactError: If a file is missing or damaged, or the machine supports none.
    """
    failed: dict[Variant, str] = {}
    while True:
        variant, fallback = choose(variants, failed)
        try:
            return open_engine(artifact, variant), fallback
        except UnsupportedError as error:
            failed[variant] = str(error)


def open_engine(artifact: Path, variant: Variant) -> Engine:
    """Load an engine's code and weights.

    Args:
        artifact: Folder with `classifier/`, and `openvino/` where that is the engine.
        variant: One for which `hindrance` is empty.

    Raises:
        ArtifactError: If a file is missing or damaged.
        UnsupportedError: If this machine cannot compute it after all.
    """
    # Each engine brings a library of hundreds of megabytes, of which one is enough.
    if variant.engine == "openvino":
        from .openvino_engine import OpenVinoEngine

        return OpenVinoEngine(artifact / "openvino", variant.precision)
    from .torch_engine import TorchEngine

    return TorchEngine(artifact / "classifier", variant.precision)


def choose(
    variants: Sequence[Variant], failed: Mapping[Variant, str] = _NONE
) -> tuple[Variant, str]:
    """Return the variant that this machine computes fastest, and why not the first if so.

    Args:
        variants: Those that passed their checks, those that CPUs do fastest first. With a GPU
            those of torch come before the others.
        failed: Why some of them are out of the question.

    Raises:
        ArtifactError: If the machine supports none.
    """
    reasons: list[str] = []
    if has_cuda() and any(variant.engine == "torch" for variant in variants):
        # It is among them only where it was asked for.
        asked = [variant for variant in variants if variant.precision == "int8"]
        reasons = [f"{variant}: for CPUs alone, and there is a GPU" for variant in asked]
        variants = sorted(variants, key=lambda variant: variant.engine != "torch")
    for variant in variants:
        reason = failed.get(variant) or hindrance(variant)
        if not reason:
            return variant, "; ".join(reasons)
        reasons.append(f"{variant}: {reason}")
    raise ArtifactError(f"no engine for this machine: {'; '.join(reasons)}")


def hindrance(variant: Variant) -> str:
    """Return why this machine cannot compute a variant, or slowly; an empty string if it can."""
    if importlib.util.find_spec(variant.engine) is None:
        return f"{variant.engine} is not installed"
    if variant.engine == "openvino":
        from .openvino_engine import formats
    else:
        from .torch_engine import formats
    return "" if variant.precision in formats() else f"no {variant.precision} instructions here"


def has_cuda() -> bool:
    """Return whether torch can compute on a GPU here."""
    try:
        # The driver's library. Where it is missing, torch, which takes seconds, is not asked.
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
