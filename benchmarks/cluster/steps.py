"""Steps of the driver that are timed alone, since a run has too few rows to show them."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.cluster.fit import Steps
from tasks.ingestion.table_reader import survey
from tasks.inputs.row_ranges import read_shards
from tasks.inputs.types import InputFile, Surveyed
from tasks.output.records import FOLDERS, Shard, read_records, table_path
from tasks.staging.arrow_files import write_staged
from tasks.staging.publishing import DraftedShard, publish_shard

_REPEATS = 5


def time_steps(inputs: Path, output: Path, folder: Path) -> Steps:
    """Time what the driver does alone with an input file and the output of a run.

    Args:
        inputs: The file.
        output: The output folder of a run that scored this file alone.
        folder: For what is written.
    """
    records = sorted(read_records(output), key=lambda record: record.shard.first_row)
    shards = [record.shard for record in records]
    rows = sum(shard.rows for shard in shards)
    surveyed = _surveyed(inputs, shards[0])
    return Steps(
        survey_row=_cpu_of(partial(_surveyed, inputs, shards[0])) / rows,
        stage_row=_cpu_of(partial(_stage, surveyed, shards, folder / "staged")) / rows,
        publish_shard=_publish_shard(output, folder),
    )


def _surveyed(inputs: Path, shard: Shard) -> Surveyed:
    found = survey(inputs, {"text"}, set(), {"text"})
    return Surveyed(file=InputFile(id=shard.file_id, path=inputs, name=shard.source), survey=found)


def _stage(surveyed: Surveyed, shards: Sequence[Shard], folder: Path) -> None:
    """Read a file again, and write the rows of each shard for a worker."""
    for shard, rows in read_shards(surveyed, shards):
        write_staged(rows, folder / f"{shard.id}.arrow", folder)


def _publish_shard(output: Path, folder: Path) -> float:
    """Return the CPU seconds to publish a shard that is drafted."""
    target, drafted = folder / "published", list(_drafted_again(output, folder))
    shutil.rmtree(target, ignore_errors=True)
    for of_output in (*FOLDERS, "records"):
        (target / of_output).mkdir(parents=True)
    began = time.process_time()
    for shard in drafted:
        publish_shard(shard, target)
    return (time.process_time() - began) / len(drafted)


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
