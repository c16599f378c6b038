"""Shapes of public data sets, from the file to its scores; `make data-sets` runs it.

Each is trained with two commands, as a newcomer would, and scored with a third. The base model is
tiny: it is reading that is proved, not learning.
"""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import run_in_project
from tests.support.data_sets import DATA_SETS, DataSet

ROWS = 200


def run(folder: Path, module: str, *arguments: str) -> None:
    done = run_in_project(folder, module, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_file_is_trained_on_and_scored(
    home: Path, tmp_path: Path, tiny_base: Path, data_set: DataSet
) -> None:
    rows = data_set.rows(ROWS)
    place, options = data_set.write(tmp_path, rows), data_set.options
    given = [f"--{name}={value}" for name, value in (("encoding", options.encoding),) if value]
    given += [] if options.header else ["--no-header"]
    run(tmp_path, "flows.start_project", "--source", str(place), *given)
    fast = ["--base-model", str(tiny_base), "--min-steps", "0", "--engine", "torch"]
    run(tmp_path, "flows.end_to_end", *fast)
    tables = [place]
    if place.is_dir() or place.suffix == ".zip":  # scoring takes tables
        tables = list((tmp_path / "var" / "data" / "unpacked").glob("*.jsonl"))
    output = tmp_path / "scored"
    inputs = ["--inputs", *map(str, tables), "--output-dir", str(output)]
    run(tmp_path, "flows.score_shards", *inputs, "--label-column", data_set.label_column)
    summary = json.loads((output / "manifest.json").read_text())["summary"]
    assert (summary["rows_in"], summary["scored"], summary["rejected"]) == (ROWS, ROWS, 0)
    predicted = pd.read_parquet(output / "predictions")
    assert set(predicted["prediction_label"]) <= set(data_set.labels)
    assert len(predicted[data_set.text_column]) == ROWS
