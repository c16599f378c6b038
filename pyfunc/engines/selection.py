"""The engines that compute the transformer, and which of them this machine takes."""

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ..errors import ArtifactError, UnsupportedError
from ..spec import Variant
from .engine import Engine

_NONE: Mapping[Variant, str] = MappingProxyType({})


def open_fastest(artifact: Path, variants: Sequence[Variant]) -> tuple[Engine, str]:
    """Open the engine of `choose_variant`, or the next if this machine cannot compute it.

    Args:
        artifact: Folder with `classifier/`, and `openvino/` where that is among the engines.
        variants: As for `choose_variant`.

    Returns:
        The engine, and why none of those before it, or an empty string.

    Raises:
        ArtifactError: If a file is missing or damaged, or the machine supports none.
    """
    failed: dict[Variant, str] = {}
    while True:
        variant, fallback = choose_variant(variants, failed)
        try:
            return open_engine(artifact, variant), fallback
        except UnsupportedError as error:
            failed[variant] = str(error)


def open_engine(artifact: Path, variant: Variant) -> Engine:
    """Load an engine's code and weights.

    Args:
        artifact: Folder with `classifier/`, and `openvino/` where that is the engine.
        variant: One for which `unsupported_reason` is empty.

    Raises:
        ArtifactError: If a file is missing or damaged.
        UnsupportedError: If this machine cannot compute it after all.
    """
    # Each engine brings a library of hundreds of megabytes, of which one is enough.
    if variant.engine == "openvino":
        from .openvino import OpenVinoEngine

        return OpenVinoEngine(artifact / "openvino", variant.precision)
    from .torch import TorchEngine

    return TorchEngine(artifact / "classifier", variant.precision)


def choose_variant(
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
        reason = failed.get(variant) or unsupported_reason(variant)
        if not reason:
            return variant, "; ".join(reasons)
        reasons.append(f"{variant}: {reason}")
    raise ArtifactError(f"no engine for this machine: {'; '.join(reasons)}")


def unsupported_reason(variant: Variant) -> str:
    """Return why this machine cannot compute a variant, or slowly; an empty string if it can."""
    if importlib.util.find_spec(variant.engine) is None:
        return f"{variant.engine} is not installed"
    if variant.engine == "openvino":
        from .openvino import supported_precisions
    else:
        from .torch import supported_precisions
    return (
        ""
        if variant.precision in supported_precisions()
        else f"no {variant.precision} instructions here"
    )


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
