"""An output folder that commit d319afc made is read, resumed and checked by today's code.

The stored folder was made at `/tmp/millstream-d319afc`, with a pipeline that is not stored. Its
records and manifest have that path. Only the name of the machine was changed, to `example`.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.score_shards import score_shards
from tasks.common.settings import get_settings
from tasks.inputs.types import InputFile, Surveyed
from tasks.maintenance.version_references import read_references
from tasks.output.file_ids import FileIds
from tasks.output.records import read_records, write_record
from tasks.scoring.completeness import check_completeness
from tasks.scoring.planning import plan_files
from tasks.scoring.prefect_tasks import survey_input
from tasks.scoring.previous_failures import read_earlier_runs
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.tracking.mlflow_client import connect
from tests.support.builders import Trained, use_home

HERE = Path(__file__).parent
INPUTS = HERE / "inputs_d319afc"
UNREADABLE = "unreadable-ddd24d83"  # has no column of texts

# What they count by comes from the data.
COUNTED = frozenset(
    {"labels", "languages", "reasons", "rejected_because", "scored_because", "failures"}
)
SHARDS = (
    "labelled-a2897305-00001",
    "labelled-a2897305-00002",
    "malformed-52958da6-00001",
    "mixed-ec9d86ba-00001",
    "mixed-ec9d86ba-00002",
)
# Keys that came later; readers of before do not look for them.
ADDED_TO_THE_SUMMARY = ("row_warnings",)
ADDED_TO_THE_PARAMETERS = {"output_format": "parquet"}  # with what they mean where they are missing
# Columns that the model decides, or that the place of the input does.
NOT_COMPARED = (
    "shard",
    "prediction_label",
    "prediction_score",
    "cached",
    "finetuned_model_uri",
    "inference_pipeline_model_uri",
)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A copy of the stored output folder."""
    return shutil.copytree(HERE / "output_d319afc", tmp_path / "stored")


@pytest.fixture(scope="module")
def scored(_trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of today's code for the stored inputs."""
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(_trained_once.home, monkeypatch)
        connect()
        score_shards(
            [str(INPUTS)],
            str(folder),
            shard_rows=3,
            label_column="label",
            language_policy="flag",
            languages=["en"],
            max_failed_shards=1,
        )
    get_settings.cache_clear()
    return folder


def manifest_of(output: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((output / "manifest.json").read_bytes())
    return manifest


def parameters_of(output: Path) -> ScoringParameters:
    """Return the parameters of the run before, for a run into the same folder."""
    parameters = ScoringParameters.model_validate(manifest_of(output)["parameters"])
    return parameters.model_copy(update={"output_dir": output})


def surveys_of(
    output: Path, parameters: ScoringParameters, inputs: Path = INPUTS
) -> tuple[Surveyed, ...]:
    """Read the inputs, which lie elsewhere now, as the files that the run before has read."""
    sources = {shard["file_id"]: shard["source"] for shard in manifest_of(output)["shards"]}
    files = [
        InputFile(id=file_id, path=inputs / Path(source).name, name=source)
        for file_id, source in sources.items()
        if file_id != UNREADABLE
    ]
    return tuple(Surveyed(file=file, survey=survey_input.fn(file, parameters)) for file in files)


def reasons_to_score(
    output: Path, inputs: Path = INPUTS, *, fingerprint: str = "", **rows: Any
) -> Counter[str]:
    """Return how many shards a run would score for which reason; an empty one skips."""
    parameters = parameters_of(output)
    update: dict[str, Any] = {"rows": parameters.rows.model_copy(update=rows)}
    if fingerprint:
        update["model"] = parameters.model.model_copy(update={"fingerprint": fingerprint})
    parameters = parameters.model_copy(update=update)
    planned = plan_files(surveys_of(output, parameters, inputs), parameters)
    assert [shard.shard.id for shard in planned] == list(SHARDS)
    return Counter(shard.why for shard in planned)


def shape(value: Any, *, name: str = "") -> Any:
    """Return the keys of a document at all levels, in their order, without the values."""
    if isinstance(value, Mapping):
        if name in COUNTED:
            return "counts"
        return [(key, shape(part, name=key)) for key, part in value.items()]
    if isinstance(value, list):
        return [shape(part) for part in value]
    return "value"


# Reading


def test_records_are_read_and_written_back_byte_for_byte(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    records = {record.shard.id: record for record in read_records(stored)}
    assert sorted(records) == list(SHARDS)
    for name, record in records.items():
        write_record(tmp_path, record)
        place = f"records/{name}.json"
        assert (tmp_path / place).read_bytes() == (stored / place).read_bytes()


def test_manifest_is_read(stored: Path) -> None:
    manifest = manifest_of(stored)
    outcomes = [ShardOutcome.model_validate(shard) for shard in manifest["shards"]]
    assert [outcome.model_dump(mode="json") for outcome in outcomes] == manifest["shards"]
    parameters = ScoringParameters.model_validate(manifest["parameters"])
    expected = manifest["parameters"] | ADDED_TO_THE_PARAMETERS
    assert parameters.model_dump(mode="json") == expected


def test_failures_of_the_run_before_are_known(stored: Path) -> None:
    earlier = read_earlier_runs(stored)
    assert earlier.finished
    assert earlier.failed == {UNREADABLE}


def test_versions_that_the_folder_refers_to_are_found(stored: Path) -> None:
    references = read_references(stored)
    assert not references.unreadable
    assert references.uris == {
        "models:/inference_pipeline_model/1",  # in the records
        "models:/m-2d3f812524bd46a1b6f2cf25c828ae01",  # the same version, in the rows
        "models:/dl_finetuned_model/1",
    }


def test_published_rows_pass_the_check_of_completeness(stored: Path) -> None:
    parameters = parameters_of(stored)
    outcomes = [ShardOutcome.model_validate(shard) for shard in manifest_of(stored)["shards"]]
    check_completeness(surveys_of(stored, parameters), outcomes, parameters)


# Planning


def test_equal_inputs_model_and_parameters_skip_every_shard(stored: Path) -> None:
    assert reasons_to_score(stored) == {"": 5}


def test_other_model_scores_every_shard(stored: Path) -> None:
    assert reasons_to_score(stored, fingerprint="0" * 64) == {"the model changed": 5}


def test_other_parameter_scores_every_shard(stored: Path) -> None:
    assert reasons_to_score(stored, label_column=None) == {"the parameters changed": 5}


def test_changed_input_scores_its_shards_alone(stored: Path, tmp_path: Path) -> None:
    inputs = shutil.copytree(INPUTS, tmp_path / "inputs")
    path = inputs / "labelled.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("warm", "cold"), encoding="utf-8")
    assert reasons_to_score(stored, inputs) == {"": 3, "the input changed": 2}


@pytest.mark.parametrize("folder", ["predictions", "rejected"])
def test_altered_file_scores_its_shard_alone(stored: Path, folder: str) -> None:
    with (stored / folder / f"{SHARDS[0]}.parquet").open("ab") as file:
        file.write(b"more")
    assert reasons_to_score(stored) == {"": 4, f"its {folder} file was altered": 1}


# Writing


def ids_by_source(output: Path) -> dict[str, list[str]]:
    """Return the ids of each input's shards by its name."""
    ids: dict[str, list[str]] = {}
    for record in read_records(output):
        ids.setdefault(Path(record.shard.source).name, []).append(record.shard.id)
    return {name: sorted(shards) for name, shards in ids.items()}


def pairs(stored: Path, scored: Path) -> list[tuple[str, str]]:
    """Return the ids of the same range, as stored and as scored today."""
    before, after = ids_by_source(stored), ids_by_source(scored)
    assert before.keys() == after.keys()
    return [pair for name in before for pair in zip(before[name], after[name], strict=True)]


def test_shard_ids_are_made_from_name_place_and_number(stored: Path, scored: Path) -> None:
    for output, digits in ((stored, 8), (scored, 16)):
        for record in read_records(output):
            path = Path(record.shard.source)
            digest = hashlib.sha256(str(path).encode()).hexdigest()[:digits]
            assert record.shard.file_id == f"{path.stem}-{digest}"
            assert record.shard.id.startswith(f"{record.shard.file_id}-0000")
            # A file goes on with the ids that it has.
            ids = FileIds(output)
            assert ids.id_of(str(path), path.stem, str(path)) == record.shard.file_id


def test_records_of_today_have_the_stored_keys(stored: Path, scored: Path) -> None:
    for before, after in pairs(stored, scored):
        documents = [
            json.loads((output / "records" / f"{shard}.json").read_bytes())
            for output, shard in ((stored, before), (scored, after))
        ]
        assert shape(documents[1]) == shape(documents[0])
        for name in ("sha256", "first_row", "rows"):
            assert documents[1]["shard"][name] == documents[0]["shard"][name]


def test_manifest_of_today_has_the_stored_keys(stored: Path, scored: Path) -> None:
    today = manifest_of(scored)
    for key in ADDED_TO_THE_SUMMARY:
        del today["summary"][key]
    for key in ADDED_TO_THE_PARAMETERS:
        del today["parameters"][key]
    assert shape(today) == shape(manifest_of(stored))


@pytest.mark.parametrize("folder", ["predictions", "rejected"])
def test_tables_of_today_have_the_stored_columns_and_rows(
    stored: Path, scored: Path, folder: str
) -> None:
    for before, after in pairs(stored, scored):
        old = pq.ParquetFile(stored / folder / f"{before}.parquet").read()
        new = pq.ParquetFile(scored / folder / f"{after}.parquet").read()
        assert new.schema.equals(old.schema, check_metadata=True)
        kept = [name for name in old.column_names if name not in NOT_COMPARED]
        assert new.select(kept).equals(old.select(kept))
