"""Give a state folder that was moved or copied its new place, in everything that names the old one.

These have absolute paths below the state folder: MLflow's database (artifacts), Prefect's
(parameters and results of runs), the records of scored shards, the splits and the checkpoints.
"""

import json
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from tasks.common.errors import DataError, ParameterError
from tasks.common.files import published_file
from tasks.common.parameter_types import FrozenModel
from tasks.common.settings import Settings

_TIMEOUT_S = 60
# What may be in front of an absolute path, and behind the folder's name: not a part of a name.
_BEFORE, _AFTER = r"(?:(?<![\w./~%-])|(?<=sqlite:///))", r"(?=[/\"'\\]|$)"


class Relocation(FrozenModel):
    """What was changed for a former place.

    Attributes:
        former: The folder that was named before.
        database_values: Values in the databases of MLflow and Prefect.
        files: Records, splits and checkpoints.
        models_without_files: Models whose files are in neither place.
    """

    former: Path
    database_values: int
    files: int
    models_without_files: int


def relocate(settings: Settings, former: Path) -> Relocation:
    """Replace the paths below `former` by those below the state folder.

    MLflow's database, by which the move is recognised, is changed last and in one transaction: an
    interrupted relocation is done again by the next. The former folder is not written to.

    Raises:
        ParameterError: If the services of `make up` run in the folder, or a part of a copy is a
            link to what the original uses.
        DataError: If the former folder has files of a model that are missing here.
    """
    _check_nothing_is_up(settings)
    _check_links(settings, former)
    lost = _models_without_files(settings, former)
    changed = _replacement(former, settings.root)
    files = sum(_change_file(path, changed) for path in _files_with_paths(settings))
    databases = (settings.prefect_home / "prefect.db", settings.mlflow_database)
    values = sum(_change_database(path, changed) for path in databases if path.is_file())
    return Relocation(former=former, database_values=values, files=files, models_without_files=lost)


def _check_nothing_is_up(settings: Settings) -> None:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as manager:
        manager.connect(str(settings.manager_socket))
        raise ParameterError(
            f"MILLSTREAM_HOME: services run in {settings.root}; expected none, as after make down "
            "before a folder is moved"
        )


def _check_links(settings: Settings, former: Path) -> None:
    if not (former / settings.mlflow_database.name).exists():
        return  # moved: nobody else uses what a link leads to
    for entry in sorted(settings.root.iterdir()):
        if entry.is_symlink() and not entry.resolve().is_relative_to(settings.root):
            raise ParameterError(
                f"MILLSTREAM_HOME: {entry} is a link to {entry.resolve()}, which {former} uses; "
                "expected a copy of that"
            )


def _models_without_files(settings: Settings, former: Path) -> int:
    """Return how many models have their files neither here nor there.

    Raises:
        DataError: If files are there and not here.
    """
    lost = 0
    for name, location in _model_folders(settings.mlflow_database):
        if not location.is_relative_to(former):
            continue
        here = settings.root / location.relative_to(former)
        if here.exists():
            continue
        if location.exists():
            raise DataError(
                f"{here}: missing, but {location} has the files of the model {name}; expected a "
                f"copy of all of {former / settings.artifacts.name}"
            )
        lost += 1
    return lost


def _model_folders(database: Path) -> list[tuple[str, Path]]:
    if not database.is_file():
        return []
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT model_id, artifact_location FROM logged_models WHERE lifecycle_stage = 'active'"
        ).fetchall()
    places = ((name, urlsplit(location)) for name, location in rows)
    return [(name, Path(url2pathname(place.path))) for name, place in places if place.path]


def _replacement(former: Path, now: Path) -> Callable[[str], str]:
    """Return the function that replaces a folder in a text, as it is written there.

    In a URI of a file it is quoted, in JSON escaped, and elsewhere as it is.
    """

    def changed(text: str) -> str:
        text = _replace(text, "(?<=file://)", {quote(str(former)): quote(str(now))})
        spell = _json_spellings if _is_json(text) else _plain_spellings
        return _replace(text, _BEFORE, dict(zip(spell(former), spell(now), strict=True)))

    return changed


def _replace(text: str, before: str, spellings: Mapping[str, str]) -> str:
    pattern = f"{before}({'|'.join(map(re.escape, spellings))}){_AFTER}"
    return re.sub(pattern, lambda found: spellings[found[1]], text)


def _plain_spellings(path: Path) -> tuple[str, ...]:
    return (str(path),)


def _json_spellings(path: Path) -> tuple[str, ...]:
    """Return a path as JSON has it, without and with characters beyond ASCII."""
    # The last of two that are equal counts, and ASCII is right in any JSON.
    return tuple(json.dumps(str(path), ensure_ascii=escaped)[1:-1] for escaped in (False, True))


def _is_json(text: str) -> bool:
    if not text.startswith(("{", "[", '"')):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _files_with_paths(settings: Settings) -> Iterator[Path]:
    yield from settings.data.glob("splits/*/*.json")
    yield from settings.checkpoints.rglob("*.json")
    yield from settings.scored.rglob("records/*.json")
    yield from settings.scored.rglob("manifest.json")


def _change_file(path: Path, changed: Callable[[str], str]) -> bool:
    if path.resolve() != path or not path.is_file():  # a link may lead into the original
        return False
    try:
        before = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # none of ours
        return False
    after = changed(before)
    if after == before:
        return False
    with published_file(path) as draft:
        draft.write_text(after, encoding="utf-8")
        shutil.copystat(path, draft)  # the order and the age of records
    return True


def _change_database(path: Path, changed: Callable[[str], str]) -> int:
    """Change every text of a SQLite database in one transaction; return how many changed."""
    with closing(sqlite3.connect(path, timeout=_TIMEOUT_S)) as connection, connection:
        connection.create_function("changed", 1, changed, deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        return sum(
            connection.execute(
                # Names from the database's own schema.
                f"UPDATE {table} SET {column} = changed({column}) "  # noqa: S608
                f"WHERE typeof({column}) = 'text' AND {column} <> changed({column})"
            ).rowcount
            for table, column in _columns(connection)
        )


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the quoted names of each table and column."""
    found = connection.execute(
        "SELECT tables.name, columns.name FROM sqlite_master AS tables "
        "JOIN pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return [(_quoted(table), _quoted(column)) for table, column in found]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
