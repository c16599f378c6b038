"""Plan a run: split files into shards, find the shards to score, remove obsolete ones."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tasks.common.errors import DataError
from tasks.ingestion.formats import Survey
from tasks.inputs.input_files import is_gone, list_input_files, settled_files
from tasks.inputs.types import FoundInputs, InputFile, Surveyed
from tasks.output.derived_files import remove_derived
from tasks.output.file_ids import file_id_of, shards_of_files
from tasks.output.folder import output_errors
from tasks.output.records import (
    FOLDERS,
    SUFFIXES,
    Shard,
    ShardRecord,
    read_record,
    record_path,
    table_path,
)
from tasks.output.rescoring import RANGE_CHANGED, rescore_reason
from tasks.scoring.previous_failures import EarlierRuns, read_earlier_runs
from tasks.scoring.types import PlannedShard, ScoringParameters
from tasks.staging.leases import revoke_all_leases

logger = logging.getLogger(__name__)

MAX_SHARDS = 99_999  # of a file: their ids have five digits, by which they are sorted


def select_inputs(
    inputs: Sequence[str], output_dir: Path, *, settle_seconds: int, allow_empty: bool
) -> FoundInputs:
    """Return the files to score, those that still change, and those that are gone.

    Raises:
        DataError: If an input brings no file, or none that settled, and `allow_empty` is false.
    """
    found = list_input_files(inputs, output_dir, allow_empty=allow_empty)
    files = settled_files(found, settle_seconds)
    if not files and not allow_empty:
        raise DataError(
            f"inputs: all {len(found)} files changed in the last {settle_seconds} s; expected one "
            "that settled, or allow_empty"
        )
    ids = {file.id for file in files}
    return FoundInputs(
        files=files,
        settling=tuple(file.name for file in found if file.id not in ids),
        removed=list_removed_files(output_dir, found),
    )


def plan_files(
    surveys: Sequence[Surveyed], parameters: ScoringParameters
) -> tuple[PlannedShard, ...]:
    """Return the shards of all readable files, in order, and why each has to be scored, if so.

    Nothing is written; every finished shard's files are read, for their digests.

    Raises:
        ParameterError: If only what failed is asked for, and the folder holds no earlier run, or
            a damaged manifest.
    """
    earlier = read_earlier_runs(parameters.output_dir) if parameters.only_failed else None
    files = (
        split_into_shards(surveyed.file, surveyed.survey, parameters.shard_rows)
        for surveyed in surveys
        if surveyed.survey is not None
    )
    planned = tuple(shard for shards in files for shard in _plan_file(shards, parameters, earlier))
    if not planned:
        logger.info("no shards: there is no row that can be read")
        return ()
    reasons = Counter(shard.why or shard.left or "done" for shard in planned)
    counts = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
    logger.info("%d %s (%s)", len(planned), "shard" if len(planned) == 1 else "shards", counts)
    return planned


def check_shard_count(file: InputFile, survey: Survey, shard_rows: int) -> None:
    """Check that a file makes no more shards than a run can hold in memory and name.

    Raises:
        DataError: If it makes more than `MAX_SHARDS`.
    """
    shards = -(-survey.rows // shard_rows)
    if shards > MAX_SHARDS:
        raise DataError(
            f"{file.name}: its {survey.rows} rows make {shards} shards of {shard_rows}; expected "
            f"at most {MAX_SHARDS}: a larger shard_rows, or several files"
        )


def split_into_shards(file: InputFile, survey: Survey, shard_rows: int) -> Iterator[Shard]:
    """Yield the shards of a file: `shard_rows` rows each, and one if there is no row."""
    for number, first in enumerate(range(1, max(survey.rows, 1) + 1, shard_rows), start=1):
        yield Shard(
            id=f"{file.id}-{number:05}",
            file_id=file.id,
            source=file.name,
            sha256=survey.sha256,
            first_row=first,
            rows=min(shard_rows, survey.rows - first + 1),
            read_as=survey.text.differences,
        )


def remove_obsolete_shards(planned: Sequence[PlannedShard], output_dir: Path) -> None:
    """Remove what killed runs left, and shards that the files of this run no longer have.

    Shards of other files stay: they belong to other runs. So do those of a file of which this run
    leaves some out, and with them the way that it was cut. The caller holds the folder.

    Args:
        planned: The shards of this run.
        output_dir: Folder of the output.

    Raises:
        OutputError: If the folder may not be written.
    """
    keep = {shard.shard.id for shard in planned}
    files = {shard.shard.file_id for shard in planned}
    files -= {shard.shard.file_id for shard in planned if shard.left}
    with output_errors(output_dir):
        superseded = shards_of_files(output_dir, files) - keep
    remove_shards(superseded, output_dir)


def remove_shards(shard_ids: Collection[str], output_dir: Path) -> None:
    """Remove what killed runs left, and published shards. The caller holds the folder.

    Args:
        shard_ids: The shards.
        output_dir: Folder of the output.

    Raises:
        OutputError: If the folder may not be written.
    """
    revoke_all_leases(output_dir)
    with output_errors(output_dir):
        for remains in _list_remains(output_dir):
            remains.unlink()
        for shard_id in sorted(shard_ids):
            remove_derived(output_dir, shard_id)
            # The record before the tables: without it, they do not count.
            record_path(output_dir, shard_id).unlink(missing_ok=True)
            for folder in FOLDERS:
                table_path(output_dir, folder, shard_id).unlink(missing_ok=True)
    if shard_ids:
        logger.info("removed %d shards that the input no longer has", len(shard_ids))


def _list_remains(output_dir: Path) -> Iterator[Path]:
    """Yield the drafts of killed runs, of our own folders alone.

    Others may write to the output folder: a link there is not followed.
    """
    yield from (path for path in output_dir.glob(".*.draft") if not path.is_dir())
    for name in ("records", *SUFFIXES):
        if not (output_dir / name).is_symlink():
            yield from (path for path in output_dir.glob(f"{name}/.*.draft") if not path.is_dir())


def list_removed_files(output_dir: Path, files: Sequence[InputFile]) -> tuple[str, ...]:
    """Return the names of files that an output has shards of, and that are gone.

    Args:
        output_dir: The output.
        files: Those that are there; the others are looked for.
    """
    known = {file.id for file in files}
    shards = {file_id_of(path.stem): path.stem for path in (output_dir / "records").glob("*.json")}
    sources = set()
    for file_id, shard_id in shards.items():
        if file_id not in known:
            with suppress(ValueError):  # a damaged record does not say
                record = read_record(output_dir, shard_id)
                sources |= {record.shard.source} if record else set()
    return tuple(sorted(s for s in sources if is_gone(s)))


def _plan_file(
    shards: Iterable[Shard], parameters: ScoringParameters, earlier: EarlierRuns | None
) -> list[PlannedShard]:
    """Plan the shards of a file."""
    folder, model = parameters.output_dir, parameters.model
    found = [
        (
            shard,
            *rescore_reason(folder, shard, model.fingerprint, parameters.rows, model.rules_digest),
        )
        for shard in shards
    ]
    if earlier is not None:
        return _plan_failed_only(found, earlier)
    unasked = "" if parameters.resume else "resume is false"
    return [
        PlannedShard(shard=shard, why=why or unasked, record=None if why or unasked else record)
        for shard, why, record in found
    ]


def _plan_failed_only(
    found: Sequence[tuple[Shard, str, ShardRecord | None]], earlier: EarlierRuns
) -> list[PlannedShard]:
    """Plan the shards of a file in a run that is for what failed alone.

    In a file that was cut otherwise before, a shard of now is none of then: some of its rows may be
    published with another, so that all or none have to be scored.
    """
    whole = all(shard.file_id in earlier.failed for shard, _, _ in found)
    cut_otherwise = not whole and any(
        (record.shard.first_row, record.shard.rows) != (shard.first_row, shard.rows)
        for shard, _, record in found
        if record is not None
    )
    planned = []
    for shard, why, record in found:
        again = earlier.retry_reason(shard, record)
        if again and not cut_otherwise:
            planned.append(PlannedShard(shard=shard, why=again))
        else:
            left = RANGE_CHANGED if why and again else why
            planned.append(
                PlannedShard(shard=shard, why="", left=left, record=None if why else record)
            )
    return planned
