"""Model versions that output folders refer to, in their records and rows."""

import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet
from mlflow.entities import Run, ViewType
from pydantic import BaseModel, ValidationError

from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import is_locked
from tasks.maintenance.stale_outputs import find_output_folders, with_shadows
from tasks.maintenance.types import Limits
from tasks.output.folder import LOCK
from tasks.output.records import MEMBERS_COLUMN, table_path
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import CHALLENGER_TAG, SCORING_EXPERIMENT

_URI_COLUMNS = ("inference_pipeline_model_uri", "finetuned_model_uri")


class _Arm(BaseModel):
    model_uri: str


class _Record(BaseModel):
    """The part of a shard's record that refers to versions; older formats have no arms."""

    model_uri: str
    arms: dict[str, _Arm] = {}

    @property
    def uris(self) -> set[str]:
        return {self.model_uri, *(arm.model_uri for arm in self.arms.values())}


@dataclass(frozen=True)
class FolderReferences:
    """What the records of one output folder refer to.

    Attributes:
        folder: The output folder.
        uris: The versions named by records and rows.
        unreadable: A file or folder that cannot be read, and so may refer to any version.
        in_use: Whether a run holds the folder and may still write records.
    """

    folder: Path
    uris: frozenset[str] = frozenset()
    unreadable: str = ""
    in_use: bool = False


def read_references(folder: Path) -> FolderReferences:
    """Return the versions that an output folder refers to; a missing folder refers to none.

    The rows are read as well: one from the prediction cache names the version that computed it,
    which may differ from the requested one.
    """
    uris: set[str] = set()
    unreadable = _collect_uris(folder, uris)
    return FolderReferences(folder, frozenset(uris), unreadable, is_locked(folder / LOCK))


def known_output_folders(limits: Limits) -> list[Path]:
    """Return all output folders: found under `scored/`, given, or named by a scoring run.

    Unreadable folders are included, and the answers of shadows.
    """
    unreadable: list[Path] = []
    found = find_output_folders(get_settings().scored, unreadable)
    named = with_shadows({*limits.output_dirs, *scoring_run_folders()})
    return sorted({*found, *unreadable, *named})


def scoring_run_folders() -> dict[Path, set[str]]:
    """Return the output folders of MLflow's scoring runs, and the versions they requested."""
    folders: dict[Path, set[str]] = {}
    for run in _scoring_runs():
        if name := run.data.tags.get("output_dir"):
            asked = {run.data.tags.get(tag, "") for tag in ("model_uri", CHALLENGER_TAG)}
            folders.setdefault(Path(name), set()).update(asked)
    return folders


def _collect_uris(folder: Path, uris: set[str]) -> str:
    """Add to `uris`; return the path of the first unreadable file, or an empty string."""
    records = folder / "records"
    try:
        # Not glob, which skips an unreadable folder.
        paths = [path for path in records.iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return ""
    except OSError:
        return str(records)
    for path in sorted(paths):
        rows = table_path(folder, "predictions", path.stem)
        try:
            uris |= _Record.model_validate_json(path.read_bytes()).uris
        except FileNotFoundError:
            continue
        except (OSError, ValidationError):
            return str(path)
        try:
            uris |= _read_row_uris(rows)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowException, KeyError):
            return str(rows)
    return ""


def _read_row_uris(path: Path) -> set[str]:
    # Not read_table, whose data sets add columns.
    with pyarrow.parquet.ParquetFile(path) as file:
        table = file.read(columns=list(_URI_COLUMNS))
        uris = {uri for name in _URI_COLUMNS for uri in table[name].unique().to_pylist() if uri}
        if MEMBERS_COLUMN in file.schema_arrow.names:
            # A member may have seen a text without deciding it.
            (members,) = file.read(columns=[MEMBERS_COLUMN]).columns
            for chunk in members.chunks:
                uris |= set(chunk.flatten().field("uri").unique().to_pylist())
    return uris


def _scoring_runs() -> list[Run]:
    experiment = connect().get_experiment_by_name(SCORING_EXPERIMENT)
    if experiment is None:
        return []
    return mlflow.search_runs(
        [experiment.experiment_id],
        # Runs that were deleted in the UI had an output as well.
        run_view_type=ViewType.ALL,
        max_results=sys.maxsize,
        output_format="list",
    )
