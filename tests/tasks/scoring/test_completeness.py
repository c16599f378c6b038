from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.arms.types import ScoringModel
from tasks.common.errors import ProofError
from tasks.ingestion.formats import Survey
from tasks.inputs.types import InputFile, Surveyed
from tasks.output.records import Counts, Shard, ShardRecord, table_path
from tasks.output.row_parameters import RowParameters
from tasks.scoring.completeness import check_completeness
from tasks.scoring.planning import split_into_shards
from tasks.scoring.types import ScoringParameters, ShardOutcome

FILE = InputFile(id="rows-12345678", path=Path("/rows.csv"), name="/rows.csv")


def outcome(shard: Shard) -> ShardOutcome:
    record = ShardRecord(
        shard=shard,
        model_uri="",
        fingerprint="",
        engine="torch",
        precision="f32",
        parameters=RowParameters(),
        counts=Counts(),
        labels={},
        languages={},
        scores=(),
        reasons={},
        files={},
        started=datetime.now(UTC),
        seconds=0,
        model_seconds=0,
        host="",
        flow_run_id="",
    )
    return ShardOutcome(id=shard.id, file_id=shard.file_id, source=shard.source, record=record)


def publish(folder: str, shard: str, rows: list[int], output: Path) -> None:
    path = table_path(output, folder, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    types = pa.schema([("shard", pa.string()), ("row", pa.int64())])
    pq.write_table(pa.table([[shard] * len(rows), rows], schema=types), path)


class Output:
    """Ten rows in two shards of five, of which the rows 2 and 7 were rejected."""

    def __init__(self, folder: Path) -> None:
        survey = Survey(sha256="0" * 64, size=0, modified_ns=0, rows=10, columns=b"")
        self.folder = folder
        self.surveys = [Surveyed(file=FILE, survey=survey)]
        self.shards = list(split_into_shards(FILE, survey, 5))
        self.outcomes = [outcome(shard) for shard in self.shards]
        for shard, scored, rejected in zip(
            self.shards, ([1, 3, 4, 5], [6, 8, 9, 10]), ([2], [7]), strict=True
        ):
            publish("predictions", shard.id, scored, folder)
            publish("rejected", shard.id, rejected, folder)
        self.count()

    def count(self) -> None:
        """Let the records count what is in the files, so that only the rows are at odds."""
        for number, outcome in enumerate(self.outcomes):
            if outcome.record is not None:
                rows = {
                    folder: pq.ParquetFile(table_path(self.folder, folder, outcome.id)).metadata
                    for folder in ("predictions", "rejected")
                }
                counts = Counts(
                    scored=rows["predictions"].num_rows, rejected=rows["rejected"].num_rows
                )
                record = outcome.record.model_copy(update={"counts": counts})
                self.outcomes[number] = outcome.model_copy(update={"record": record})

    def prove(self) -> None:
        model = ScoringModel(
            uri="", fingerprint="", labels=(), engine="torch", precision="f32", device="cpu"
        )
        parameters = ScoringParameters(model=model, output_dir=self.folder)
        check_completeness(self.surveys, self.outcomes, parameters)


@pytest.fixture
def published(tmp_path: Path) -> Output:
    return Output(tmp_path)


def test_whole_output_is_proved(published: Output) -> None:
    published.prove()


def lose_a_row(published: Output) -> None:
    publish("predictions", published.shards[1].id, [6, 8, 10], published.folder)
    published.count()


def double_a_row(published: Output) -> None:
    publish("rejected", published.shards[1].id, [7, 8], published.folder)
    published.count()


def swap_rows(published: Output) -> None:
    publish("predictions", published.shards[1].id, [6, 9, 8, 10], published.folder)


def replace_a_row(published: Output) -> None:
    publish("predictions", published.shards[1].id, [6, 8, 9, 11], published.folder)


def put_another_shard_in_its_place(published: Output) -> None:
    first, second = (table_path(published.folder, "predictions", s.id) for s in published.shards)
    second.write_bytes(first.read_bytes())


def remove_a_file(published: Output) -> None:
    table_path(published.folder, "rejected", published.shards[1].id).unlink()


def lose_a_row_that_was_counted(published: Output) -> None:
    publish("predictions", published.shards[1].id, [6, 8, 10], published.folder)


def forget_a_shard(published: Output) -> None:
    published.outcomes.pop()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_row, "4 published rows, 1 missing; expected the rows 6 to 10 once each"),
        (double_a_row, "6 published rows, 0 missing; expected the rows 6 to 10 once each"),
        (swap_rows, "its rows are out of order; expected that of the input"),
        (replace_a_row, "5 published rows, 1 missing; expected the rows 6 to 10 once each"),
        (put_another_shard_in_its_place, "has rows of another shard; expected rows-12345678-00002"),
        (remove_a_file, "expected the rejected of a shard"),
        (lose_a_row_that_was_counted, "has 3 rows; expected 4, as in its record"),
        (forget_a_shard, "/rows.csv: 5 of its rows are in no shard; expected 0"),
    ],
)
def test_damage_is_found_and_named(
    published: Output, damage: Callable[[Output], None], message: str
) -> None:
    damage(published)
    with pytest.raises(ProofError, match=message):
        published.prove()


def test_rows_of_a_failed_shard_may_be_missing(published: Output) -> None:
    forget_a_shard(published)
    shard = published.shards[1]
    published.outcomes.append(
        ShardOutcome(id=shard.id, file_id=shard.file_id, source=shard.source, error="why")
    )
    published.prove()
