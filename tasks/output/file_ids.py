"""Ids of input files: unique within an output folder, and the same in every run that has it.

Files of recorded requests have ids of another form, by which their folder is known.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from tasks.output.records import FOLDERS, read_record

_NAME_CHARACTERS = 40  # each may take 4 bytes; a file name, with all that is added, ends at 255

# Of outputs before ids had 16 digits.
_FORMER_CHARACTERS, _FORMER_DIGITS = 50, 8

_DIGITS, _MORE_DIGITS = 16, 32  # of the digest; the more where a record of another source has an id
# A file's name may have any character.
_SHARD_ID = re.compile(
    rf".+-(?:[0-9a-f]{{{_FORMER_DIGITS}}}|[0-9a-f]{{{_DIGITS}}}|[0-9a-f]{{{_MORE_DIGITS}}})-\d{{5,}}",
    re.DOTALL,
)


_RECORDED_ID = re.compile(r"online-\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}-v\d+")


class FileIds:
    """Gives each input file of a run an id that no other file of the output folder has.

    An id is the file's name, without dots and underscores at its start, and a part of the SHA-256
    of its place. A file goes on with the id that its shards in the folder have, also with one of a
    former version, or of the place that it had before the state folder was moved. Where a record
    says that an id belongs to another source, more digits are taken.

    Args:
        output_dir: The output folder; it need not exist.
    """

    def __init__(self, output_dir: Path) -> None:
        self._output_dir = output_dir
        self._shards = dict(_shards_by_file(output_dir))
        self._same_name: dict[str, list[str]] = {}
        for found in sorted(self._shards):
            self._same_name.setdefault(_name_of(found), []).append(found)
        self._given: set[str] = set()

    def id_of(self, place: str, stem: str, source: str) -> str:
        """Return the id of a file, which is another one at each call.

        Args:
            place: Its path or whole URL.
            stem: Its name without extensions.
            source: As in its records.
        """
        former, candidates = _possible_ids(place, stem)
        known = [found for found in former if found in self._shards]
        # Two URLs that differ in what is redacted are of one source.
        if not known and place == source and self._shards.keys().isdisjoint(candidates):
            known = [
                found
                for found in self._same_name.get(_name_of(candidates[0]), ())
                if self._source_of(found) == source
            ]
        file_id = next(found for found in known + candidates if self._may_have(found, source))
        self._given.add(file_id)
        return file_id

    def has(self, source: str, stem: str) -> bool:
        """Return whether the folder has shards of a local file that has no id yet.

        Args:
            source: Its path, as in its records.
            stem: Its name without extensions.
        """
        former, candidates = _possible_ids(source, stem)
        ids = [found for found in former + candidates if found in self._shards]
        return any(found not in self._given and self._source_of(found) == source for found in ids)

    def _may_have(self, file_id: str, source: str) -> bool:
        return file_id not in self._given and self._source_of(file_id) in (None, source)

    def _source_of(self, file_id: str) -> str | None:
        """Return whose shards these are, None if no record says it."""
        for shard_id in sorted(self._shards.get(file_id, ())):
            with suppress(ValueError):  # it is damaged
                if record := read_record(self._output_dir, shard_id):
                    return record.shard.source
        return None


def _possible_ids(place: str, stem: str) -> tuple[list[str], list[str]]:
    """Return the ids that former versions gave a file, and those that it may have now."""
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    # pandas, pyarrow and Spark skip the files of a folder that start with one of these.
    visible = stem.lstrip("._") or "file"
    names = [name[:_NAME_CHARACTERS] for name in (stem, visible)]
    hidden, now = (
        [f"{name}-{digest[:digits]}" for digits in (_DIGITS, _MORE_DIGITS)] for name in names
    )
    former = f"{stem[:_FORMER_CHARACTERS]}-{digest[:_FORMER_DIGITS]}"
    return [former, *(found for found in hidden if found not in now)], now


def _name_of(file_id: str) -> str:
    """Return the part of a file's id that is not of its place."""
    return file_id.rpartition("-")[0]


def is_shard_id(name: str) -> bool:
    """Return whether a name has the form of a shard's id, also of a former version's."""
    return _SHARD_ID.fullmatch(name) is not None


def new_recorded_id(first: datetime, version: int) -> str:
    """Return an id for a file of recorded requests: `online-20261130T113412.123456Z-0f3a9c21-v7`.

    Ids sort by time, and random digits tell files of several servers apart. None has the form of a
    shard's id: what takes shards for what a run can make again leaves recorded requests alone.

    Args:
        first: When the first of the requests was answered.
        version: The number of the version that answered them.
    """
    return f"online-{first.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}-v{version}"


def recorded_ids(output_dir: Path) -> list[str]:
    """Return the ids of the files of recorded requests in a folder, the oldest first."""
    found = (path.stem for path in (output_dir / "records").glob("online-*.json"))
    return sorted(filter(is_recorded_id, found))


def is_recorded_id(name: str) -> bool:
    """Return whether a name is that of a file of recorded requests."""
    return _RECORDED_ID.fullmatch(name) is not None


def file_id_of(shard_id: str) -> str:
    """Return the part of a shard's id that all shards of its file share."""
    return re.sub(r"-\d{5,}$", "", shard_id)


def shards_of_folder(output_dir: Path) -> set[str]:
    """Return the ids of all shards of which anything is in the folder."""
    return {shard for shards in _shards_by_file(output_dir).values() for shard in shards}


def shards_of_files(output_dir: Path, file_ids: set[str]) -> set[str]:
    """Return the ids of the shards of these files of which anything is in the folder."""
    return {
        shard
        for file_id, shards in _shards_by_file(output_dir).items()
        if file_id in file_ids
        for shard in shards
    }


def _shards_by_file(output_dir: Path) -> dict[str, set[str]]:
    shards: dict[str, set[str]] = {}
    for path in _published(output_dir):
        shards.setdefault(file_id_of(path.stem), set()).add(path.stem)
    return shards


def _published(output_dir: Path) -> Iterator[Path]:
    found = ((output_dir / folder).glob("*.*") for folder in ("records", *FOLDERS))
    return (path for path in chain.from_iterable(found) if path.suffix != ".draft")
