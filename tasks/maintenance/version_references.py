"""What output folders refer to: the versions that were asked, and those that answered."""

import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet
from mlflow.entities import Run, ViewType
from pydantic import BaseModel, ValidationError

from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import is_held
from tasks.maintenance.stale_outputs import find_outputs
from tasks.maintenance.types import Limits
from tasks.output.folder import LOCK
from tasks.output.records import table_path
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import SCORING_EXPERIMENT

_URI_COLUMNS = ("inference_pipeline_model_uri", "finetuned_model_uri")


class _Record(BaseModel):
    """The part of a shard's record that refers to a version; one of an older form has it too."""

    model_uri: str


@dataclass(frozen=True)
class FolderReferences:
    """What the records of one output folder refer to.

    Attributes:
        folder: The output folder.
        uris: The versions that were asked, and those that the rows name.
        unreadable: A file or folder that cannot be read, so that it may refer to anything.
        in_use: Whether a run holds the folder, whose records are still to come.
    """

    folder: Path
    uris: frozenset[str] = frozenset()
    unreadable: str = ""
    in_use: bool = False


def read_references(folder: Path) -> FolderReferences:
    """Return what an output folder refers to; one that is gone refers to nothing.

    The rows are read as well: an answer from the prediction cache names the version that computed
    it, which may be another than the one that was asked.
    """
    uris: set[str] = set()
    unreadable = _read(folder, uris)
    return FolderReferences(folder, frozenset(uris), unreadable, is_held(folder / LOCK))


def known_outputs(limits: Limits) -> list[Path]:
    """Return every output folder that is known of: found, given, or named by a scoring run.

    Folders that cannot be looked into are among them.
    """
    unreadable: list[Path] = []
    found = find_outputs(get_settings().scored, unreadable)
    return sorted({*found, *unreadable, *limits.output_dirs, *folders_of_scoring_runs()})


def folders_of_scoring_runs() -> dict[Path, set[str]]:
    """Return the output folders that MLflow's scoring runs name, and the versions they asked."""
    folders: dict[Path, set[str]] = {}
    for run in _scoring_runs():
        if name := run.data.tags.get("output_dir"):
            folders.setdefault(Path(name), set()).add(run.data.tags.get("model_uri", ""))
    return folders


def _read(folder: Path, uris: set[str]) -> str:
    """Fill `uris`; return the path of what cannot be read, or an empty string."""
    records = folder / "records"
    try:
        # Not glob, which passes over a folder that it may not read.
        paths = [path for path in records.iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return ""
    except OSError:
        return str(records)
    for path in sorted(paths):
        rows = table_path(folder, "predictions", path.stem)
        try:
            uris.add(_Record.model_validate_json(path.read_bytes()).model_uri)
        except FileNotFoundError:
            continue
        except (OSError, ValidationError):
            return str(path)
        try:
            uris |= _uris_of_rows(rows)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowException, KeyError):
            return str(rows)
    return ""


def _uris_of_rows(path: Path) -> set[str]:
    # Not read_table, whose data sets have columns of their own.
    table = pyarrow.parquet.ParquetFile(path).read(columns=list(_URI_COLUMNS))
    return {uri for name in _URI_COLUMNS for uri in table[name].unique().to_pylist() if uri}


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
