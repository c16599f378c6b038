"""Steps of the driver that are timed alone, since a run has too few rows to show them."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.cluster.fit import Steps
from tasks.ingestion.formats import Survey
from tasks.ingestion.table_reader import survey
from tasks.inputs.row_ranges import read_shards
from tasks.inputs.types import InputFile, Surveyed
from tasks.output.records import FOLDERS, read_records, table_path
from tasks.scoring.planning import split_into_shards
from tasks.staging.arrow_files import write_staged
from tasks.staging.publishing import DraftedShard, publish_shard

_REPEATS = 3


def time_steps(inputs: Path, shard_rows: int, output: Path, folder: Path) -> Steps:
    """Time what the driver does alone.

    Args:
        inputs: A file of many rows: a row of a small one costs less.
        shard_rows: Rows of a shard of it.
        output: The output folder of a run.
        folder: For what is written.
    """
    found = survey(inputs, {"text"}, set(), {"text"})
    survey_s = _cpu_of(lambda: survey(inputs, {"text"}, set(), {"text"}))
    stage_s = _cpu_of(partial(_stage, inputs, found, shard_rows, folder / "staged"))
    return Steps(survey_s / found.rows, stage_s / found.rows, _publish_shard(output, folder))


def _stage(inputs: Path, found: Survey, shard_rows: int, folder: Path) -> None:
    """Read a file again, and write the rows of each shard for a worker."""
    file = InputFile(id=inputs.stem, path=inputs, name=str(inputs))
    shards = list(split_into_shards(file, found, shard_rows))
    for shard, rows in read_shards(Surveyed(file=file, survey=found), shards):
        write_staged(rows, folder / f"{shard.id}.arrow", folder)
    shutil.rmtree(folder)


def _publish_shard(output: Path, folder: Path) -> float:
    """Return the CPU seconds to publish a shard that is drafted."""
    target, drafted = folder / "published", list(_drafted_again(output, folder))
    shutil.rmtree(target, ignore_errors=True)
    for of_output in (*FOLDERS, "records"):
        (target / of_output).mkdir(parents=True)
    return _cpu_once(lambda: [publish_shard(shard, target) for shard in drafted]) / len(drafted)


def _drafted_again(output: Path, folder: Path) -> Iterator[DraftedShard]:
    """Yield copies of published shards, as a worker drafts them."""
    for record in read_records(output):
        drafts = {}
        for of_table in FOLDERS:
            table = table_path(output, of_table, record.shard.id)
            drafts[of_table] = folder / f"{of_table}-{table.name}"
            shutil.copyfile(table, drafts[of_table])
        yield DraftedShard(record=record, drafts=drafts)


def _cpu_of(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of some repeats: the first imports, others are disturbed."""
    return min(_cpu_once(work) for _ in range(_REPEATS))


def _cpu_once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
