"""Prune the prediction cache: drop the entries of superseded pipelines."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pyfunc.cache.contents import Entries, drop_entries, entries_by_fingerprint
from pyfunc.errors import PipelineError
from tasks.common.console import print_table
from tasks.common.errors import DataError, ModelError, ParameterError
from tasks.common.settings import get_settings
from tasks.promotion.aliases import previous_champion
from tasks.tracking import registry
from tasks.tracking.mlflow_client import is_transient
from tasks.tracking.names import PIPELINE_MODEL, version_uri
from tasks.tracking.pipeline_loader import load_typed_pipeline


def prune_cache_entries(keep: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    """Drop the entries of all pipelines but those with an alias, the previous one and `keep`.

    Args:
        keep: Further versions to keep: numbers, aliases or URIs.
        dry_run: Report what would be dropped, and drop nothing.

    Raises:
        ModelError: If a version to keep cannot be loaded.
        ParameterError: If there is no such version.
        DataError: If the cache cannot be read.
    """
    folder = get_settings().prediction_cache
    versions = _versions_to_keep(keep)
    kept = {load_typed_pipeline(version_uri(v.name, v.version)).fingerprint for v in versions}
    try:
        entries = entries_by_fingerprint(folder)
        superseded = set(entries) - kept
        dropped = 0 if dry_run else drop_entries(folder, superseded)
    except PipelineError as error:
        raise DataError(str(error)) from error
    report = {
        "cache": str(folder),
        "kept_versions": sorted({int(version.version) for version in versions}),
        "kept_entries": _sum_entries(entries, kept & set(entries)).count,
        "superseded_pipelines": len(superseded),
        "superseded_entries": _sum_entries(entries, superseded).count,
        "superseded_bytes": _sum_entries(entries, superseded).bytes,
        "dropped_entries": dropped,
    }
    print_table("Dry run: nothing was dropped" if dry_run else "Pruned the cache", report)
    return report


def _versions_to_keep(keep: Sequence[str]) -> list[ModelVersion]:
    versions = [
        registry.get_version(PIPELINE_MODEL, number) for number in _pipeline_aliases().values()
    ]
    versions += [
        registry.find_version(PIPELINE_MODEL, reference, parameter="keep") for reference in keep
    ]
    with suppress(ModelError, ParameterError):  # there may be no previous champion
        versions.append(previous_champion(PIPELINE_MODEL))
    return versions


def _pipeline_aliases() -> dict[str, int]:
    try:
        return registry.get_aliases(PIPELINE_MODEL)
    except MlflowException as error:
        if is_transient(error):
            raise
        raise ModelError(
            f"{PIPELINE_MODEL}: nothing is registered; expected a pipeline to keep"
        ) from error


def _sum_entries(entries: dict[str, Entries], fingerprints: set[str]) -> Entries:
    chosen = [entries[fingerprint] for fingerprint in fingerprints]
    return Entries(
        count=sum(part.count for part in chosen), bytes=sum(part.bytes for part in chosen)
    )
