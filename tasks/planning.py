"""Which ranges of which files are to be scored, which are done, and what is left of others."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tasks.output_folder import STAGING, writing_to
from tasks.records import FOLDERS, Shard, record_path, table_path, why_to_score
from tasks.scoring import InputFile, PlannedShard, ScoringParameters, Surveyed
from tasks.survey import Survey

logger = logging.getLogger(__name__)


def plan(surveys: Sequence[Surveyed], parameters: ScoringParameters) -> tuple[PlannedShard, ...]:
    """Return the shards of all readable files, in order, and why each has to be scored, if so.

    Nothing is written; every finished shard's files are read, for their digests.
    """
    shards = (
        shard
        for surveyed in surveys
        if surveyed.survey is not None
        for shard in ranges(surveyed.file, surveyed.survey, parameters.shard_rows)
    )
    planned = tuple(_planned(shard, parameters) for shard in shards)
    reasons = Counter(shard.why or "done" for shard in planned)
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


def _planned(shard: Shard, parameters: ScoringParameters) -> PlannedShard:
    why, record = why_to_score(
        parameters.output_dir, shard, parameters.model.fingerprint, parameters.rows
    )
    if not why and not parameters.resume:
        why = "resume is false"
    return PlannedShard(shard=shard, why=why, record=None if why else record)


def _shards_in(output_dir: Path, file_ids: set[str]) -> set[str]:
    """Return the ids of the shards of these files of which anything is there."""
    found = chain.from_iterable(
        (output_dir / folder).glob("*.*") for folder in ("records", *FOLDERS)
    )
    return {path.stem for path in found if re.sub(r"-\d{5,}$", "", path.stem) in file_ids}
