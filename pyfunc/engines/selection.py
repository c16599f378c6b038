"""Engine selection: open the fastest engine and precision that this machine supports."""

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ..errors import ArtifactError, UnsupportedError
from ..spec import Variant
from .engine import Engine

_NO_FAILURES: Mapping[Variant, str] = MappingProxyType({})


def open_fastest(member: Path, variants: Sequence[Variant]) -> tuple[Engine, str]:
    """Open the engine of `choose_variant`, or the next one if it does not compile here.

    Args:
        member: Folder with `classifier/`, and `openvino/` if a variant needs it.
        variants: As for `choose_variant`.

    Returns:
        The engine, and why the variants before it were skipped, or an empty string.

    Raises:
        ArtifactError: If a file is missing or damaged, or the machine supports none.
    """
    failed: dict[Variant, str] = {}
    while True:
        variant, fallback = choose_variant(variants, failed)
        try:
            return open_engine(member, variant), fallback
        except UnsupportedError as error:
            failed[variant] = str(error)


def open_engine(member: Path, variant: Variant) -> Engine:
    """Load an engine's code and weights.

    Args:
        member: Folder with `classifier/` or `openvino/`.
        variant: One for which `unsupported_reason` is empty.

    Raises:
        ArtifactError: If a file is missing or damaged.
        UnsupportedError: If the model does not compile on this machine.
    """
    # Import one library only: each has hundreds of megabytes.
    if variant.engine == "openvino":
        from .openvino import OpenVinoEngine

        return OpenVinoEngine(member / "openvino", variant.precision)
    if variant.engine == "static":
        from .static import StaticEngine

        return StaticEngine(member / "classifier")
    from .torch import TorchEngine

    return TorchEngine(member / "classifier", variant.precision)


def choose_variant(
    variants: Sequence[Variant], failed: Mapping[Variant, str] = _NO_FAILURES
) -> tuple[Variant, str]:
    """Return the fastest variant for this machine, and why the ones before it were skipped.

    Args:
        variants: Those that passed their quality gates, fastest on CPUs first. With a GPU those
            of torch come first.
        failed: Variants that did not compile, with the error.

    Raises:
        ArtifactError: If the machine supports none.
    """
    reasons: list[str] = []
    if any(variant.engine == "torch" for variant in variants) and has_cuda():
        # int8 is among them only if the user chose it, so that its loss needs a reason.
        chosen = [variant for variant in variants if variant.precision == "int8"]
        reasons = [f"{variant}: for CPUs alone, and there is a GPU" for variant in chosen]
        variants = sorted(variants, key=lambda variant: variant.engine != "torch")
    for variant in variants:
        reason = failed.get(variant) or unsupported_reason(variant)
        if not reason:
            return variant, "; ".join(reasons)
        reasons.append(f"{variant}: {reason}")
    raise ArtifactError(f"no engine for this machine: {'; '.join(reasons)}")


def unsupported_reason(variant: Variant) -> str:
    """Return why this machine does not support a variant, or an empty string."""
    if variant.engine == "static":
        return "" if variant.precision == "f32" else "it has f32 alone"
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
        # Without the driver's library, the import of torch, which takes seconds, is saved.
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
