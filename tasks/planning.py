"""Which ranges of which files are to be scored, which are done, and what is left of others."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from tasks.addresses import is_url
from tasks.errors import ParameterError
from tasks.output_folder import STAGING, writing_to
from tasks.records import (
    FOLDERS,
    Shard,
    ShardRecord,
    read_record,
    record_path,
    table_path,
    why_to_score,
)
from tasks.scoring_types import InputFile, PlannedShard, ScoringParameters, Surveyed
from tasks.survey import Survey

logger = logging.getLogger(__name__)


def plan(surveys: Sequence[Surveyed], parameters: ScoringParameters) -> tuple[PlannedShard, ...]:
    """Return the shards of all readable files, in order, and why each has to be scored, if so.

    Nothing is written; every finished shard's files are read, for their digests.

    Raises:
        ParameterError: If only what failed is asked for, and the folder holds no earlier run.
    """
    failed = failed_before(parameters.output_dir) if parameters.only_failed else None
    shards = (
        shard
        for surveyed in surveys
        if surveyed.survey is not None
        for shard in ranges(surveyed.file, surveyed.survey, parameters.shard_rows)
    )
    planned = tuple(_planned(shard, parameters, failed) for shard in shards)
    reasons = Counter(shard.why or shard.left or "done" for shard in planned)
    logger.info("%d shards: %s", len(planned), dict(reasons))
    return planned


def ranges(file: InputFile, survey: Survey, shard_rows: int) -> Iterator[Shard]:
    """Yield the shards of a file: `shard_rows` rows each, and one if there is no row."""
    for number, first in enumerate(range(1, max(survey.rows, 1) + 1, shard_rows), start=1):
        yield Shard(
            id=f"{file.id}-{number:05}",
            file_id=file.id,
            source=file.name,
            sha256=survey.sha256,
            first_row=first,
            rows=min(shard_rows, survey.rows - first + 1),
        )


def clear_leftovers(planned: Sequence[PlannedShard], output_dir: Path) -> None:
    """Remove what killed runs left, and shards that the files of this run no longer have.

    Shards of other files stay: they belong to other runs. The caller holds the folder.

    Args:
        planned: The shards of this run.
        output_dir: Folder of the output.

    Raises:
        OutputError: If the folder may not be written.
    """
    keep = {shard.shard.id for shard in planned}
    files = {shard.shard.file_id for shard in planned}
    with writing_to(output_dir):
        for draft in chain(
            output_dir.glob(".*.draft"),
            output_dir.glob("*/.*.draft"),
            output_dir.glob(f"{STAGING}/*"),
        ):
            draft.unlink()
        superseded = sorted(_shards_in(output_dir, files) - keep)
        for shard_id in superseded:
            # The record first: without it, the rest does not count.
            record_path(output_dir, shard_id).unlink(missing_ok=True)
            for folder in FOLDERS:
                table_path(output_dir, folder, shard_id).unlink(missing_ok=True)
    if superseded:
        logger.info("removed %d shards that the input no longer has", len(superseded))


def failed_before(output_dir: Path) -> frozenset[str]:
    """Return the ids of shards, and of files, that failed in the run before.

    Raises:
        ParameterError: If the folder has no manifest of a run.
    """
    path = output_dir / "manifest.json"
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["shards"]
        return frozenset(shard["id"] for shard in shards if shard["error"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParameterError(
            f"only_failed: {path} is no manifest; expected the output of an earlier run"
        ) from error


def removed_files(output_dir: Path, files: Sequence[InputFile]) -> tuple[str, ...]:
    """Return the names of files that an output has shards of, and that are gone.

    Args:
        output_dir: The output.
        files: Those that are there; the others are looked for.
    """
    known = {file.id for file in files}
    shards = {_file_id(path.stem): path.stem for path in (output_dir / "records").glob("*.json")}
    sources = set()
    for file_id, shard_id in shards.items():
        if file_id not in known:
            with suppress(ValueError):  # a damaged record does not say
                record = read_record(output_dir, shard_id)
                sources |= {record.shard.source} if record else set()
    return tuple(sorted(s for s in sources if not is_url(s) and not Path(s).exists()))


def _planned(
    shard: Shard, parameters: ScoringParameters, failed: frozenset[str] | None
) -> PlannedShard:
    why, record = why_to_score(
        parameters.output_dir, shard, parameters.model.fingerprint, parameters.rows
    )
    if failed is not None:
        return _planned_again(shard, why, record, failed)
    if not why and not parameters.resume:
        why = "resume is false"
    return PlannedShard(shard=shard, why=why, record=None if why else record)


def _planned_again(
    shard: Shard, why: str, record: ShardRecord | None, failed: frozenset[str]
) -> PlannedShard:
    """Plan a shard of a run that is for what failed alone."""
    if failed & {shard.id, shard.file_id}:
        return PlannedShard(shard=shard, why="it failed before")
    if record is not None and record.counts.rejected:
        return PlannedShard(shard=shard, why="it has rejected rows")
    return PlannedShard(shard=shard, why="", left=why, record=None if why else record)


def _shards_in(output_dir: Path, file_ids: set[str]) -> set[str]:
    """Return the ids of the shards of these files of which anything is there."""
    found = chain.from_iterable(
        (output_dir / folder).glob("*.*") for folder in ("records", *FOLDERS)
    )
    return {path.stem for path in found if _file_id(path.stem) in file_ids}


def _file_id(shard_id: str) -> str:
    return re.sub(r"-\d{5,}$", "", shard_id)
