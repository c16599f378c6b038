"""SHA-256 fingerprint of a pipeline: code, weights, tokenizer, engine and library versions."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .composition.tree import rename_members
from .composition.tree_json import to_json
from .detectors.selection import DETECTORS
from .engines.engine import Engine
from .engines.openvino import int8_arithmetic, model_path
from .spec import MemberSpec, PipelineSpec, detector_folder, member_folder

# Another version of these may give another answer.
_LIBRARIES = ("tokenizers",)
_LIBRARIES_OF = {
    "openvino": ("openvino",),
    "torch": ("torch", "transformers"),
    "static": ("numpy",),
}


def digest_code(package: Path) -> str:
    """Return the SHA-256 of a package's Python files, by relative name and content."""
    return _digest_files(package, package.rglob("*.py"))


def digest_folder(folder: Path) -> str:
    """Return the SHA-256 of a folder's files, by relative name and content."""
    return _digest_files(folder, (path for path in folder.rglob("*") if path.is_file()))


def fingerprint_pipeline(artifact: Path, spec: PipelineSpec, engines: Mapping[str, Engine]) -> str:
    """Return the SHA-256 of everything that can change an answer of the pipeline here.

    Model URIs and the names of members are left out: equivalent versions share their cache
    entries, and so do pipelines in which a member has another name.

    Args:
        artifact: Folder with the shipped code (`pyfunc/`), the `members/` and the files of the
            `detector/`, if it has any.
        spec: The settings of the pipeline.
        engines: The engine that computes each member of the tree.
    """
    contents = {
        name: _digest_json(_member_parts(artifact, spec.members[name], engine))
        for name, engine in engines.items()
    }
    parts = {
        "code": digest_code(artifact / "pyfunc"),
        "answer": to_json(rename_members(spec.answer, contents)),
        "libraries": _versions_of(_LIBRARIES),
        "detector": [
            spec.detector,
            _versions_of(DETECTORS[spec.detector].libraries),
            digest_folder(detector_folder(artifact)),
        ],
    }
    return _digest_json(parts)


def _member_parts(artifact: Path, member: MemberSpec, engine: Engine) -> dict[str, Any]:
    name, precision = engine.variant.engine, engine.variant.precision
    folder = member_folder(artifact, member)
    parts = {
        "classifier": digest_folder(folder / "classifier"),
        "max_tokens": member.max_tokens,
        "temperature": member.temperature,
        "engine": [name, precision, engine.device],
        "libraries": _versions_of(_LIBRARIES_OF[name]),
    }
    if name == "openvino":
        model = model_path(folder / "openvino", precision)
        parts["model"] = _digest_files(model.parent, model.parent.glob(f"{model.stem}.*"))
    if precision == "int8":
        parts["int8"] = int8_arithmetic()
    return parts


def _versions_of(libraries: Iterable[str]) -> dict[str, str]:
    return {library: version(library) for library in libraries}


def _digest_json(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest_files(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
