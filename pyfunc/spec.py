"""`pipeline.json`: the settings of a built pipeline, and the variants of its engine."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from .composition.tree import Node, has_open_thresholds, members_of
from .composition.tree_json import parse_tree, to_json
from .detectors.selection import DEFAULT_DETECTOR, DetectorName
from .errors import ArtifactError

FILE_NAME = "pipeline.json"

_FOLDER = re.compile(r"[\w-]+")  # no path: what others write names no folder elsewhere

PipelineKind = Literal["full", "plain"]
EngineName = Literal["openvino", "torch", "static"]
Precision = Literal["f32", "bf16", "int8"]


@dataclass(frozen=True, slots=True)
class Variant:
    """An engine, and the number format of its matrix products."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """The settings of a fine-tuned model in a pipeline.

    Attributes:
        finetuned_model_uri: The registered version whose weights it has.
        folder: Where they are, below `members/`; members with equal weights share one.
        max_tokens: Longer texts are truncated to this many tokens, special tokens included.
        variants: Those that passed their quality gates, fastest on CPUs first.
        temperature: What the logits are divided by before the softmax, so that the scores fit the
            validation rows of the training (Guo et al. 2017); 1 leaves them.
    """

    finetuned_model_uri: str
    folder: str
    max_tokens: int
    variants: tuple[Variant, ...]
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """The settings of a built pipeline.

    Attributes:
        kind: `full` for the five steps, `plain` for the classifier of a single member alone.
        members: Its fine-tuned models by name.
        answer: Who answers.
        detector: What detects the language of a text.
    """

    kind: PipelineKind
    members: Mapping[str, MemberSpec]
    answer: Node
    detector: DetectorName = DEFAULT_DETECTOR

    def write(self, folder: Path) -> None:
        """Write `pipeline.json` into `folder`."""
        members = {name: asdict(member) for name, member in self.members.items()}
        values = {
            "kind": self.kind,
            "members": members,
            "answer": to_json(self.answer),
            "detector": self.detector,
        }
        text = json.dumps(values, indent=2) + "\n"
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
            members = {name: _member(values) for name, values in fields.pop("members").items()}
            answer = parse_tree(fields.pop("answer"))
            return cls(members=members, answer=answer, **fields)._checked()
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"{path}: expected the settings of a pipeline ({error})") from error

    def _checked(self) -> Self:
        if self.kind not in get_args(PipelineKind):
            raise ValueError(f"kind: {self.kind!r}")
        if self.detector not in get_args(DetectorName):
            raise ValueError(f"detector: {self.detector!r}")
        if unknown := set(members_of(self.answer)) - set(self.members):
            raise ValueError(f"members: {sorted(unknown)} are missing")
        if has_open_thresholds(self.answer):
            raise ValueError("answer: a cascade has no threshold")
        if self.kind == "plain" and not isinstance(self.answer, str):
            raise ValueError("answer: a plain pipeline has a single member")
        return self


def member_folder(artifact: Path, member: MemberSpec) -> Path:
    """Return the folder with `classifier/` of a member, and `openvino/` if a variant needs it."""
    return artifact / "members" / member.folder


def detector_folder(artifact: Path) -> Path:
    """Return the folder with the files of the language detector; not there if it has none."""
    return artifact / "detector"


def business_folder(artifact: Path) -> Path:
    """Return the folder with the look-ups and rules; not there if it has none."""
    return artifact / "business"


def _member(values: Mapping[str, Any]) -> MemberSpec:
    variants = tuple(map(_variant, values["variants"]))
    member = MemberSpec(**{**values, "variants": variants})
    if type(member.max_tokens) is not int:
        raise ValueError(f"max_tokens: {member.max_tokens!r}")
    if not isinstance(member.finetuned_model_uri, str):
        raise ValueError(f"finetuned_model_uri: {member.finetuned_model_uri!r}")
    if not isinstance(member.folder, str) or not _FOLDER.fullmatch(member.folder):
        raise ValueError(f"folder: {member.folder!r}")
    if not variants:
        raise ValueError("variants: none")
    temperature = member.temperature
    if type(temperature) not in (int, float) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature: {temperature!r}")
    return member


def _variant(values: Mapping[str, Any]) -> Variant:
    variant = Variant(**values)
    if variant.engine not in get_args(EngineName):
        raise ValueError(f"engine: {variant.engine!r}")
    if variant.precision not in get_args(Precision):
        raise ValueError(f"precision: {variant.precision!r}")
    return variant
