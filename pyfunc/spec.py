"""`pipeline.json`: the settings of a built pipeline, and the variants of its engine."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from .errors import ArtifactError

FILE_NAME = "pipeline.json"

PipelineKind = Literal["full", "plain"]
EngineName = Literal["openvino", "torch"]
Precision = Literal["f32", "bf16", "int8"]


@dataclass(frozen=True, slots=True)
class Variant:
    """An engine, and the number format of its matrix products."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """The settings of a built pipeline.

    Attributes:
        kind: `full` for the five steps, `plain` for the classifier alone.
        finetuned_model_uri: The registered version whose weights are inside.
        max_tokens: Longer texts are truncated to this many tokens, special tokens included.
        variants: Those that passed their quality gates, fastest on CPUs first.
        temperature: What the logits are divided by before the softmax, so that the scores fit the
            validation rows of the training (Guo et al. 2017); 1 leaves them.
    """

    kind: PipelineKind
    finetuned_model_uri: str
    max_tokens: int
    variants: tuple[Variant, ...]
    temperature: float = 1.0

    def write(self, folder: Path) -> None:
        """Write `pipeline.json` into `folder`."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `pipeline.json` from `folder`.

        Raises:
            ArtifactError: If it is missing or invalid.
        """
        path = folder / FILE_NAME
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            variants = tuple(_variant(values) for values in fields.pop("variants"))
            return cls(variants=variants, **fields)._checked()
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"{path}: expected the settings of a pipeline ({error})") from error

    def _checked(self) -> Self:
        if self.kind not in get_args(PipelineKind):
            raise ValueError(f"kind: {self.kind!r}")
        if type(self.max_tokens) is not int:
            raise ValueError(f"max_tokens: {self.max_tokens!r}")
        if not isinstance(self.finetuned_model_uri, str):
            raise ValueError(f"finetuned_model_uri: {self.finetuned_model_uri!r}")
        if not self.variants:
            raise ValueError("variants: none")
        if type(self.temperature) not in (int, float) or not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature: {self.temperature!r}")
        return self


def _variant(values: Mapping[str, Any]) -> Variant:
    variant = Variant(**values)
    if variant.engine not in get_args(EngineName):
        raise ValueError(f"engine: {variant.engine!r}")
    if variant.precision not in get_args(Precision):
        raise ValueError(f"precision: {variant.precision!r}")
    return variant
