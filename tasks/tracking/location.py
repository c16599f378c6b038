"""The place that MLflow's database of a state folder has for its artifacts.

MLflow stores absolute paths. After a copy they still lead to the original, so that a run would
write there; after a move they lead nowhere.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tasks.common.errors import ParameterError
from tasks.common.settings import Settings

_SQLITE = "sqlite:///"
_TIMEOUT_S = 20  # MLflow's own


def check_location(settings: Settings) -> None:
    """Check that the database of the state folder has its artifacts there.

    A database elsewhere may be shared by several folders, and is not checked.

    Raises:
        ParameterError: If the folder was moved, or is a copy.
    """
    if not uses_own_database(settings):
        return
    for former in former_folders(settings):
        raise ParameterError(
            f"MILLSTREAM_HOME: {settings.root} was moved or copied, and its mlflow.db has the "
            f"artifacts in {former}; expected them here, as after "
            ".venv/bin/python -m flows.relocate"
        )


def uses_own_database(settings: Settings) -> bool:
    """Return whether the tracking database is that of the state folder."""
    uri = settings.tracking_uri
    path = Path(uri.removeprefix(_SQLITE).partition("?")[0])
    return uri.startswith(_SQLITE) and path.resolve() == settings.mlflow_database.resolve()


def former_folders(settings: Settings) -> tuple[Path, ...]:
    """Return the state folders that the database was in before, of those it has artifacts in.

    A folder without a database of its own may share this one, if its artifacts are there.
    """
    artifacts = settings.artifacts.name
    found = {
        place.parent.parent
        for place in _artifact_folders(settings.mlflow_database)
        if place.parent.name == artifacts and place.parent.parent.resolve() != settings.root
    }
    return tuple(
        folder
        for folder in sorted(found)
        if (folder / settings.mlflow_database.name).exists() or not (folder / artifacts).is_dir()
    )


def _artifact_folders(database: Path) -> set[Path]:
    """Return the folders of the artifacts of all experiments, as far as they are local."""
    if not database.is_file():
        return set()
    try:
        with closing(
            sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)
        ) as connection:
            rows = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    except sqlite3.DatabaseError:  # new, locked or damaged: MLflow says which
        return set()
    places = (urlsplit(location) for (location,) in rows if location)
    return {Path(url2pathname(place.path)) for place in places if place.scheme == "file"}
