"""The machine gets the fastest variant that it can run, and the reasons against the others."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Never

import pytest

from pyfunc.engines.openvino import import_openvino, model_path
from pyfunc.engines.selection import choose_variant, open_fastest, unsupported_reason
from pyfunc.errors import ArtifactError
from pyfunc.spec import Variant
from tests.pyfunc.engines.variants import (
    OPENVINO_BF16,
    OPENVINO_F32,
    OPENVINO_INT8,
    TORCH_BF16,
    TORCH_F32,
)
from tests.support.builders import weights_of

VARIANTS = (OPENVINO_BF16, OPENVINO_F32, TORCH_BF16, TORCH_F32)


def test_the_first_variant_is_chosen_where_nothing_hinders_it(
    lacking: Callable[..., None],
) -> None:
    lacking()
    assert choose_variant(VARIANTS) == (OPENVINO_BF16, "")


def test_the_first_that_the_machine_can_compute_is_chosen_with_the_reasons_of_those_before(
    lacking: Callable[..., None],
) -> None:
    lacking(OPENVINO_BF16, OPENVINO_F32, TORCH_F32)
    assert choose_variant(VARIANTS) == (
        TORCH_BF16,
        "openvino bf16: not here; openvino f32: not here",
    )


def test_a_gpu_puts_torch_first(lacking: Callable[..., None]) -> None:
    lacking(cuda=True)
    assert choose_variant(VARIANTS) == (TORCH_BF16, "")
    lacking(TORCH_BF16, cuda=True)
    assert choose_variant(VARIANTS) == (TORCH_F32, "torch bf16: not here")
    lacking(TORCH_BF16, TORCH_F32, cuda=True)
    assert choose_variant(VARIANTS) == (OPENVINO_BF16, "torch bf16: not here; torch f32: not here")


def test_int8_that_gives_way_to_a_gpu_is_told(lacking: Callable[..., None]) -> None:
    lacking(cuda=True)
    reason = "openvino int8: for CPUs alone, and there is a GPU"
    assert choose_variant((OPENVINO_INT8, *VARIANTS)) == (TORCH_BF16, reason)
    assert choose_variant((OPENVINO_INT8, OPENVINO_F32)) == (OPENVINO_INT8, "")


def test_a_machine_that_can_compute_none_is_told_why(lacking: Callable[..., None]) -> None:
    lacking(*VARIANTS)
    with pytest.raises(ArtifactError, match="no engine for this machine: openvino bf16: not here;"):
        choose_variant(VARIANTS)


def test_a_variant_that_does_not_compile_here_makes_room_for_the_next(
    artifact: Path, lacking: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking()

    def compile_model(*_: object) -> Never:
        raise RuntimeError("no primitive\nfor Softmax_1")

    monkeypatch.setattr(import_openvino().Core, "compile_model", compile_model)
    engine, fallback = open_fastest(weights_of(artifact), (OPENVINO_F32, TORCH_F32))
    assert engine.variant == TORCH_F32
    assert fallback == ("openvino f32: it does not compile here (no primitive for Softmax_1)")
    with pytest.raises(ArtifactError, match="no engine for this machine: openvino f32: it does"):
        open_fastest(weights_of(artifact), (OPENVINO_F32,))


def test_a_variant_whose_files_are_damaged_makes_no_room_for_the_next(
    artifact: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(weights_of(artifact), tmp_path / "damaged")
    model_path(damaged / "openvino", "f32").with_suffix(".bin").unlink()
    with pytest.raises(ArtifactError, match=r"f32\.xml: expected a converted model"):
        open_fastest(damaged, (OPENVINO_F32, TORCH_F32))


def test_a_library_that_is_not_installed_hinders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert unsupported_reason(OPENVINO_F32) == "openvino is not installed"
    assert unsupported_reason(TORCH_F32) == "torch is not installed"


def test_instructions_that_the_processor_lacks_hinder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openvino", "torch"):
        monkeypatch.setattr(f"pyfunc.engines.{name}.supported_precisions", lambda: {"f32"})
    assert unsupported_reason(OPENVINO_BF16) == "no bf16 instructions here"
    assert unsupported_reason(OPENVINO_INT8) == "no int8 instructions here"
    assert unsupported_reason(TORCH_BF16) == "no bf16 instructions here"
    assert unsupported_reason(OPENVINO_F32) == unsupported_reason(TORCH_F32) == ""


def test_torch_has_no_int8() -> None:
    assert unsupported_reason(Variant("torch", "int8")) == "no int8 instructions here"
