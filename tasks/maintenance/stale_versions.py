"""Registered versions that are superseded, found in MLflow, and freed with their files."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pyfunc.cache.contents import drop_answers_of
from pyfunc.errors import PipelineError
from tasks.common.errors import DataError
from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import days_since
from tasks.maintenance.types import INTERRUPTED, CleanupResult, Leftover, Limits
from tasks.maintenance.version_references import (
    FolderReferences,
    folders_of_scoring_runs,
    known_outputs,
    read_references,
)
from tasks.maintenance.version_retention import HAS_ALIAS, Version, reasons_to_keep
from tasks.tracking import logged_models, registry
from tasks.tracking.mlflow_client import SERVER_SCHEMES, connect, is_missing
from tasks.tracking.names import (
    BUILDING_EXPERIMENT,
    FINETUNED_MODEL,
    PIPELINE_MODEL,
    TRAINING_EXPERIMENT,
)

logger = logging.getLogger(__name__)

UNREADABLE = "perhaps referred to by a record that cannot be read"
OUTPUT_IN_USE = "perhaps asked by a scoring run that is under way"


def clean_versions(limits: Limits, outputs: CleanupResult) -> CleanupResult:
    """Tell of superseded versions of both registered models, and free them if that is asked for.

    A version goes with its logged model, the files of that, and the answers in the prediction
    cache that name it; the MLflow run that made it stays, with its figures.

    Args:
        limits: What may be freed.
        outputs: The output folders that are freed, or would be: their records hold nothing.
    """
    freed = {Path(leftover.name) for leftover in outputs.leftovers if not limits.apply}
    found = [read_references(f) for f in known_outputs(limits) if f not in freed]
    connect()
    everything = mlflow.search_model_versions()
    ours = {name: _versions(name, everything) for name in (PIPELINE_MODEL, FINETUNED_MODEL)}
    reasons = reasons_to_keep(
        ours[PIPELINE_MODEL],
        ours[FINETUNED_MODEL],
        referred=_referred(found, everything),
        doubt=_doubt(found),
        limits=limits,
    )
    interrupted = _interrupted(reasons, limits)
    superseded = [version for version, reason in reasons.items() if not reason]
    leftovers = [*map(_leftover, superseded), *interrupted]
    kept = Counter(reason for reason in reasons.values() if reason)
    if limits.apply:
        spared = _free(superseded)
        kept.update({HAS_ALIAS: len(spared)} if spared else {})
        leftovers = [leftover for leftover in leftovers if leftover.name not in spared]
        for leftover in leftovers:
            logger.info("freed %s (%d bytes): %s", leftover.name, leftover.bytes, leftover.why)
    return CleanupResult(
        kind="versions", leftovers=tuple(leftovers), kept=dict(kept), notes=_notes(found)
    )


def _referred(found: Sequence[FolderReferences], everything: Sequence[ModelVersion]) -> set[str]:
    """Return the URIs that records, rows and registered models other than ours name."""
    referred = {uri for references in found for uri in references.uris}
    sources = Counter(str(version.source) for version in everything)
    referred |= {source for source, count in sources.items() if count > 1}
    for version in everything:
        if version.name not in (PIPELINE_MODEL, FINETUNED_MODEL):
            referred |= {str(version.source), version.tags.get("finetuned_model_uri", "")}
    if urlsplit(get_settings().tracking_uri).scheme in SERVER_SCHEMES:
        # A folder that is not here may be on another machine that shares the server.
        for folder, asked in folders_of_scoring_runs().items():
            referred |= set() if folder.is_dir() else asked
    return referred


def _doubt(found: Sequence[FolderReferences]) -> str:
    if any(references.unreadable for references in found):
        return UNREADABLE
    return OUTPUT_IN_USE if any(references.in_use for references in found) else ""


def _notes(found: Sequence[FolderReferences]) -> tuple[str, ...]:
    gone = sum(not references.folder.exists() for references in found)
    notes = [f"{r.unreadable} cannot be read, so all versions stay" for r in found if r.unreadable]
    notes += [f"{r.folder} is in use, so all versions stay" for r in found if r.in_use]
    return (*notes, *([f"{gone} output folders of earlier runs are gone"] if gone else []))


def _versions(name: str, everything: Sequence[ModelVersion]) -> list[Version]:
    found = [version for version in everything if version.name == name]
    # The versions that a search returns do not tell their aliases.
    aliases = set(registry.aliases(name).values()) if found else set()
    previous = registry.previous_number(name) if found else None
    return [
        Version(
            name=name,
            number=int(version.version),
            source=str(version.source),
            days=days_since(version.creation_timestamp / 1_000),
            has_alias=int(version.version) in aliases,
            was_champion=int(version.version) == previous,
            finetuned_uri=version.tags.get("finetuned_model_uri", ""),
        )
        for version in found
    ]


def _leftover(version: Version) -> Leftover:
    return Leftover(
        kind="versions",
        name=version.uri,
        bytes=logged_models.size_of_model(version.source),
        days=version.days,
        why="superseded: no alias, record or pipeline refers to it",
    )


def _interrupted(reasons: dict[Version, str], limits: Limits) -> list[Leftover]:
    """Tell of, and free, what an interrupted clean-up had begun to free and is registered no more.

    What is registered is decided on anew.
    """
    registered = {version.source: reason for version, reason in reasons.items()}
    found = list(logged_models.marked_models([BUILDING_EXPERIMENT, TRAINING_EXPERIMENT]))
    begun = {source: uri for source, uri in found if source not in registered}
    leftovers = [
        Leftover(
            kind="versions",
            name=uri,
            bytes=logged_models.size_of_model(source),
            days=0,
            why=INTERRUPTED,
        )
        for source, uri in begun.items()
    ]
    if limits.apply:
        for source, _ in found:
            if registered.get(source):
                logged_models.unmark_model(source)
        _finish(begun)
    return leftovers


def _free(versions: Sequence[Version]) -> set[str]:
    """Free the versions and return the URIs of those that got an alias meanwhile, which stay."""
    begun = {}
    spared = set()
    for version in versions:
        if not _is_superseded_still(version):
            spared.add(version.uri)
            continue
        logged_models.mark_model(version.source, version.uri)
        _unregister(version)
        begun[version.source] = version.uri
    _finish(begun)
    return spared


def _finish(begun: dict[str, str]) -> None:
    """Free logged models, given with the versions that they were."""
    if not begun:
        return
    try:
        # A version that answers alike would hand them out, and their rows lead nowhere.
        drop_answers_of(get_settings().prediction_cache, {*begun, *begun.values()})
    except PipelineError as error:
        raise DataError(str(error)) from error
    for source in begun:
        logged_models.free_model(source)


def _is_superseded_still(version: Version) -> bool:
    # To delete a version is to delete its aliases, without a word.
    return version.number not in registry.aliases(version.name).values() and (
        version.number != registry.previous_number(version.name)
    )


def _unregister(version: Version) -> None:
    try:
        connect().delete_model_version(version.name, str(version.number))
    except MlflowException as error:
        if not is_missing(error):
            raise
