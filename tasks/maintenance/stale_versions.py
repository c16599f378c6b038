"""Superseded registered versions: found in MLflow, and deleted with their models and files."""

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
    known_output_folders,
    read_references,
    scoring_run_folders,
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
from tasks.tracking.pipeline_members import origins_of

logger = logging.getLogger(__name__)

SUPERSEDED = "superseded: no alias, record or pipeline refers to it"
UNREADABLE = "perhaps referred to by a record that cannot be read"
OUTPUT_IN_USE = "perhaps asked by a scoring run that is under way"


def clean_versions(limits: Limits, outputs: CleanupResult) -> CleanupResult:
    """Return the superseded versions of both registered models; delete them if `limits.apply`.

    A version is deleted with its logged model, that model's files, and the entries of the
    prediction cache that name it. Its MLflow run stays, with its metrics.

    Args:
        limits: What may be freed.
        outputs: The result of `clean_outputs`; the records in its leftovers keep no version.
    """
    freed = {Path(leftover.name) for leftover in outputs.leftovers if not limits.apply}
    found = [read_references(f) for f in known_output_folders(limits) if f not in freed]
    connect()
    all_versions = mlflow.search_model_versions()
    ours = {name: _to_versions(name, all_versions) for name in (PIPELINE_MODEL, FINETUNED_MODEL)}
    reasons = reasons_to_keep(
        ours[PIPELINE_MODEL],
        ours[FINETUNED_MODEL],
        referred=_referenced_uris(found, all_versions),
        uncertainty=_uncertainty(found),
        limits=limits,
    )
    interrupted = _resume_interrupted(reasons, limits)
    superseded = [version for version, reason in reasons.items() if not reason]
    leftovers = [_to_leftover(v.uri, v.source, v.days, SUPERSEDED) for v in superseded]
    leftovers += interrupted
    kept = Counter(reason for reason in reasons.values() if reason)
    if limits.apply:
        kept_uris = _free_versions(superseded)
        kept.update({HAS_ALIAS: len(kept_uris)} if kept_uris else {})
        leftovers = [leftover for leftover in leftovers if leftover.name not in kept_uris]
        for leftover in leftovers:
            logger.info("freed %s (%d bytes): %s", leftover.name, leftover.bytes, leftover.why)
    return CleanupResult(
        kind="versions", leftovers=tuple(leftovers), kept=dict(kept), notes=_describe_folders(found)
    )


def _referenced_uris(
    found: Sequence[FolderReferences], all_versions: Sequence[ModelVersion]
) -> set[str]:
    """Return the URIs that records, rows and registered models other than ours name."""
    referred = {uri for references in found for uri in references.uris}
    sources = Counter(str(version.source) for version in all_versions)
    referred |= {source for source, count in sources.items() if count > 1}
    for version in all_versions:
        if version.name not in (PIPELINE_MODEL, FINETUNED_MODEL):
            referred |= {str(version.source), *_finetuned_uris(version)}
    if urlsplit(get_settings().tracking_uri).scheme in SERVER_SCHEMES:
        # A missing folder may be on another machine that uses the same server.
        for folder, asked in scoring_run_folders().items():
            referred |= set() if folder.is_dir() else asked
    return referred


def _finetuned_uris(version: ModelVersion) -> tuple[str, ...]:
    """Return the fine-tuned versions inside a pipeline version; none of what is no pipeline."""
    try:
        return tuple(origin.finetuned_model_uri for origin in origins_of(version).values())
    except KeyError:
        return ()


def _uncertainty(found: Sequence[FolderReferences]) -> str:
    if any(references.unreadable for references in found):
        return UNREADABLE
    return OUTPUT_IN_USE if any(references.in_use for references in found) else ""


def _describe_folders(found: Sequence[FolderReferences]) -> tuple[str, ...]:
    gone = sum(not references.folder.exists() for references in found)
    notes = [f"{r.unreadable} cannot be read, so all versions stay" for r in found if r.unreadable]
    notes += [f"{r.folder} is in use, so all versions stay" for r in found if r.in_use]
    return (*notes, *([f"{gone} output folders of earlier runs are gone"] if gone else []))


def _to_versions(name: str, all_versions: Sequence[ModelVersion]) -> list[Version]:
    found = [version for version in all_versions if version.name == name]
    # Search results lack the aliases.
    aliases = set(registry.get_aliases(name).values()) if found else set()
    previous = registry.previous_champion_number(name) if found else None
    return [
        Version(
            name=name,
            number=int(version.version),
            source=str(version.source),
            days=days_since(version.creation_timestamp / 1_000),
            has_alias=int(version.version) in aliases,
            was_champion=int(version.version) == previous,
            finetuned_uris=_finetuned_uris(version),
        )
        for version in found
    ]


def _to_leftover(uri: str, source: str, days: float, why: str) -> Leftover:
    size = logged_models.model_size(source)
    return Leftover(kind="versions", name=uri, bytes=size, days=days, why=why)


def _resume_interrupted(reasons: dict[Version, str], limits: Limits) -> list[Leftover]:
    """Return the unregistered models that an interrupted clean-up marked; delete them if asked.

    Marked models that are still registered are unmarked if they stay.
    """
    registered = {version.source: reason for version, reason in reasons.items()}
    found = list(logged_models.find_marked_models([BUILDING_EXPERIMENT, TRAINING_EXPERIMENT]))
    marked = {source: uri for source, uri in found if source not in registered}
    leftovers = [_to_leftover(uri, source, 0, INTERRUPTED) for source, uri in marked.items()]
    if limits.apply:
        for source, _ in found:
            if registered.get(source):
                logged_models.unmark_for_deletion(source)
        _free_models(marked)
    return leftovers


def _free_versions(versions: Sequence[Version]) -> set[str]:
    """Delete the versions; return the URIs of those that stay because of a new alias."""
    marked = {}
    kept_uris = set()
    for version in versions:
        if not _is_still_superseded(version):
            kept_uris.add(version.uri)
            continue
        logged_models.mark_for_deletion(version.source, version.uri)
        _unregister(version)
        marked[version.source] = version.uri
    _free_models(marked)
    return kept_uris


def _free_models(marked: dict[str, str]) -> None:
    """Delete logged models, given by URI with the URI of their registered version."""
    if not marked:
        return
    try:
        # A version with the same fingerprint would return them, with the URI of a deleted one.
        drop_answers_of(get_settings().prediction_cache, {*marked, *marked.values()})
    except PipelineError as error:
        raise DataError(str(error)) from error
    for source in marked:
        logged_models.delete_model_and_files(source)


def _is_still_superseded(version: Version) -> bool:
    # MLflow deletes the aliases of a version along with it, without an error.
    return version.number not in registry.get_aliases(version.name).values() and (
        version.number != registry.previous_champion_number(version.name)
    )


def _unregister(version: Version) -> None:
    try:
        connect().delete_model_version(version.name, str(version.number))
    except MlflowException as error:
        if not is_missing(error):
            raise
