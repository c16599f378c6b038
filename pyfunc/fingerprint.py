"""Digests of what can change an answer."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from .spec import PipelineSpec

# They tokenise, compute and detect; another version may answer otherwise.
_COMPUTING_LIBRARIES = ("gcld3", "tokenizers", "torch", "transformers")


def digest_code(package: Path) -> str:
    """Return the SHA-256 of a package's Python files, by relative name and content."""
    return _digest_files(package, package.rglob("*.py"))


def digest_folder(folder: Path) -> str:
    """Return the SHA-256 of a folder's files, by relative name and content."""
    return _digest_files(folder, (path for path in folder.rglob("*") if path.is_file()))


def fingerprint_pipeline(package: Path, classifier: Path, spec: PipelineSpec) -> str:
    """Return the SHA-256 of everything that can change an answer of the pipeline.

    It is taken from the files themselves, so that no record can claim otherwise. The URIs of
    the versions are left out: versions that must answer alike share their cache entries.

    Args:
        package: Folder of the shipped code.
        classifier: Folder of weights, configuration (with the labels) and tokenizer.
        spec: Settings of the pipeline.
    """
    parts = {
        "code": digest_code(package),
        "classifier": digest_folder(classifier),
        "max_tokens": spec.max_tokens,
        "precision": spec.precision,
        "libraries": {name: version(name) for name in _COMPUTING_LIBRARIES},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest_files(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
