"""Another version answers what was recorded, while no request waits."""

import logging
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import pytest

from tasks.common.errors import ParameterError
from tasks.output.file_ids import shards_of_folder
from tasks.output.records import read_records
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.serving import shadowing
from tasks.serving.shadowing import OnlineShadow
from tasks.serving.types import ServingOptions
from tests.support.served import classify, served, wait_for_files, wait_for_metric

TEXTS = [f"one two three four five six seven eight nine ten {number}" for number in range(60)]


def test_the_challenger_answers_the_same_rows(own_versions: None, tmp_path: Path) -> None:
    folder = tmp_path / "online"
    options: dict[str, Any] = {"record": str(folder), "record_seconds": 0.2, "shadow": "challenger"}
    with served(**options, shadow_fraction=1.0) as client:
        classify(client, *TEXTS)
        wait_for_files(folder / "shadow" / "version-2", 1)
        for metric in ("millstream_recorded_rows 60.0", "millstream_shadow_rows 60.0"):
            wait_for_metric(client, metric)  # while no request comes
        classify(client, "another text")
        wait_for_files(folder / "shadow" / "version-2", 2)
    assert shards_of_folder(folder / "shadow" / "version-2") == shards_of_folder(folder)
    shadows = list(read_records(folder / "shadow" / "version-2"))
    assert {record.model_uri for record in shadows} == {"models:/inference_pipeline_model/2"}
    # They were computed text by text before, while no request waited.
    assert sum(record.counts.cached for record in shadows) == 61


def test_a_shadow_that_cannot_answer_costs_no_request(
    own_versions: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not caplog: in two of three runs of the whole suite the line did not come to it.
    said = BufferingHandler(capacity=100)
    own_logger = logging.Logger("millstream.serving")
    own_logger.addHandler(said)
    monkeypatch.setattr(shadowing, "logger", own_logger)
    options: dict[str, Any] = {"record": str(tmp_path), "record_seconds": 0.05, "shadow": "9"}
    with served(**options) as client:
        for files in (1, 2):
            classify(client, *TEXTS[:2])
            wait_for_metric(client, f"millstream_shadow_dropped_files {files}.0")
    (line,) = (record.getMessage() for record in said.buffer)
    assert line.startswith("shadow 9: shadow: inference_pipeline_model: no version '9'")
    assert not (tmp_path / "shadow").exists()


def test_files_beyond_a_few_are_dropped_and_counted(own_versions: None, tmp_path: Path) -> None:
    folder = tmp_path / "online"
    with served(record=str(folder)) as client:
        classify(client, *TEXTS[:2])
    (record,) = read_records(folder)
    model = resolve_scoring_model(record.model_uri)
    options = ServingOptions(record=str(folder), shadow="challenger", shadow_fraction=1.0)
    shadow = OnlineShadow(options, is_idle=lambda: False)
    for _ in range(7):  # one is waited for, four wait
        shadow.add(record, model)
    shadow.close()
    assert (shadow.answered, shadow.dropped) == (0, 7)
    assert not (folder / "shadow").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"shadow": "challenger"},
        {"shadow": "challenger", "record": "online", "record_text": False},
        {"shadow": "challenger", "record": "online", "split": "challenger=0.1"},
    ],
)
def test_a_shadow_needs_a_record_with_texts_of_one_version(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="shadow: challenger"):
        ServingOptions(**options)
