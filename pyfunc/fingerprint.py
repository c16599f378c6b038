"""SHA-256 fingerprint of a pipeline: code, weights, tokenizer, engine and library versions."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from .engines.engine import Engine
from .engines.openvino import int8_arithmetic, model_path
from .spec import PipelineSpec

# Another version of these may give another answer.
_LIBRARIES = ("gcld3", "tokenizers")
_LIBRARIES_OF = {"openvino": ("openvino",), "torch": ("torch", "transformers")}


def digest_code(package: Path) -> str:
    """Return the SHA-256 of a package's Python files, by relative name and content."""
    return _digest_files(package, package.rglob("*.py"))


def digest_folder(folder: Path) -> str:
    """Return the SHA-256 of a folder's files, by relative name and content."""
    return _digest_files(folder, (path for path in folder.rglob("*") if path.is_file()))


def fingerprint_pipeline(artifact: Path, spec: PipelineSpec, engine: Engine) -> str:
    """Return the SHA-256 of everything that can change an answer of the pipeline here.

    Model URIs are left out: equivalent versions share their cache entries.

    Args:
        artifact: Folder with the shipped code (`pyfunc/`), weights, configuration and tokenizer
            (`classifier/`), and the converted model (`openvino/`).
        spec: The settings of the pipeline.
        engine: The engine that computes the transformer.
    """
    name, precision = engine.variant.engine, engine.variant.precision
    parts = {
        "code": digest_code(artifact / "pyfunc"),
        "classifier": digest_folder(artifact / "classifier"),
        "max_tokens": spec.max_tokens,
        "temperature": spec.temperature,
        "engine": [name, precision, engine.device],
        "libraries": {library: version(library) for library in _LIBRARIES + _LIBRARIES_OF[name]},
    }
    if name == "openvino":
        model = model_path(artifact / "openvino", precision)
        parts["model"] = _digest_files(model.parent, model.parent.glob(f"{model.stem}.*"))
    if precision == "int8":
        parts["int8"] = int8_arithmetic()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest_files(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
