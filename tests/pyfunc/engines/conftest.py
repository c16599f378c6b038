"""An artifact with all variants, and a machine that lacks what computes some."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pyfunc.engines import selection
from pyfunc.spec import Variant
from tests.pyfunc.engines.variants import (
    OPENVINO_BF16,
    OPENVINO_F32,
    OPENVINO_INT8,
    TORCH_BF16,
    TORCH_F32,
)
from tests.support.builders import build_artifact


@pytest.fixture(scope="module")
def artifact(
    tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path, tiny_ir: Path
) -> Path:
    """What the engines are opened from, with all variants."""
    return build_artifact(
        tmp_path_factory.mktemp("artifact") / "all",
        tiny_classifier,
        converted=tiny_ir,
        variants=(OPENVINO_INT8, OPENVINO_BF16, OPENVINO_F32, TORCH_BF16, TORCH_F32),
    )


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this machine lack what computes some variants, and a GPU unless it has one."""

    def lack(*variants: Variant, cuda: bool = False) -> None:
        monkeypatch.setattr(selection, "has_cuda", lambda: cuda)
        monkeypatch.setattr(
            selection,
            "unsupported_reason",
            lambda variant: "not here" if variant in variants else "",
        )

    return lack
