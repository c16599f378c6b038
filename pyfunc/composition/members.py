"""The members of a pipeline: fine-tuned models with the engines that compute them here."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..classifier import Classifier
from ..engines.engine import Engine
from ..engines.selection import open_fastest
from ..spec import MemberSpec, member_folder

logger = logging.getLogger("pyfunc.pipeline")


@dataclass(frozen=True, slots=True)
class Member:
    """A fine-tuned model in a pipeline."""

    classifier: Classifier
    uri: str


def open_members(
    artifact: Path, specs: Mapping[str, MemberSpec]
) -> tuple[dict[str, Member], dict[str, str]]:
    """Open members with the fastest engines that this machine supports, and one pool of callers.

    Args:
        artifact: Folder of the pipeline.
        specs: The settings of the members.

    Returns:
        The members, and why the engine of some is not the first choice; of several members, each
        reason begins with the name.

    Raises:
        ArtifactError: If a file is missing or cannot be used, or the machine supports none.
    """
    engines: dict[object, Engine] = {}
    fallbacks: dict[str, str] = {}
    found: dict[str, Engine] = {}
    for name, spec in specs.items():
        # Members with equal weights and variants have one engine.
        key = spec.folder, spec.variants
        if key not in engines:
            engines[key], fallback = open_fastest(member_folder(artifact, spec), spec.variants)
            if fallback:
                fallbacks[name] = f"{name}: {fallback}" if len(specs) > 1 else fallback
                logger.warning("%s answers (%s)", engines[key].variant, fallbacks[name])
        found[name] = engines[key]
    callers = _pool_of(list(engines.values()))
    members = {
        name: Member(
            Classifier(
                member_folder(artifact, spec) / "classifier",
                found[name],
                max_tokens=spec.max_tokens,
                temperature=spec.temperature,
                callers=callers,
            ),
            spec.finetuned_model_uri,
        )
        for name, spec in specs.items()
    }
    return members, fallbacks


def _pool_of(engines: Sequence[Engine]) -> Executor:
    """Return the threads that call the engines.

    A single engine is kept busy. Several never compute more batches at a time than the one with
    the fewest streams does alone, since each stream has a core, and an engine with one stream all.
    """
    threads = min((engine.streams for engine in engines), default=1)
    if len(engines) == 1:
        threads = engines[0].callers
    return ThreadPoolExecutor(threads, thread_name_prefix="engine")
