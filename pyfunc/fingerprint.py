"""Digests of what can change an answer."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from .engines.engine import Engine
from .engines.openvino import model_path

# They tokenise, detect and compute; another version may answer otherwise.
_LIBRARIES = ("gcld3", "tokenizers")
_LIBRARIES_OF = {"openvino": ("openvino",), "torch": ("torch", "transformers")}


def digest_code(package: Path) -> str:
    """Return the SHA-256 of a package's Python files, by relative name and content."""
    return _digest_files(package, package.rglob("*.py"))


def digest_folder(folder: Path) -> str:
    """Return the SHA-256 of a folder's files, by relative name and content."""
    return _digest_files(folder, (path for path in folder.rglob("*") if path.is_file()))


def fingerprint_pipeline(artifact: Path, max_tokens: int, engine: Engine) -> str:
    """Return the SHA-256 of everything that can change an answer of the pipeline.

    It is taken from the files themselves, so that no record can claim otherwise. The URIs of
    the versions are left out: versions that must answer alike share their cache entries.

    Args:
        artifact: Folder with the shipped code (`pyfunc/`), with weights, configuration (and so
            the labels) and tokenizer (`classifier/`), and with the converted model (`openvino/`).
        max_tokens: Longer texts are cut to this many tokens.
        engine: What computes.
    """
    name, precision = engine.variant.engine, engine.variant.precision
    parts = {
        "code": digest_code(artifact / "pyfunc"),
        "classifier": digest_folder(artifact / "classifier"),
        "max_tokens": max_tokens,
        "engine": [name, precision, engine.device],
        "libraries": {library: version(library) for library in _LIBRARIES + _LIBRARIES_OF[name]},
    }
    if name == "openvino":
        model = model_path(artifact / "openvino", precision)
        parts["model"] = _digest_files(model.parent, model.parent.glob(f"{model.stem}.*"))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest_files(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
