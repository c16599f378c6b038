"""The rows on which a build compares a version with the champion."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest

from tasks.dataset.splitting import digest_text
from tasks.promotion.held_out_answers import load_held_out_rows
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import PIPELINE_MODEL as NAME

pytestmark = pytest.mark.usefixtures("new_database")


def test_a_text_counts_once(home: Path, tmp_path: Path) -> None:
    tables = {
        "test": pd.DataFrame({"text": ["Thanks", "thanks ", "no", "yes"], "label": list("abba")}),
        "trained": pd.DataFrame({"text_digest": [digest_text("no")]}),
        "validated": pd.DataFrame({"text_digest": [digest_text("other")]}),
    }
    client = connect()
    with mlflow.start_run(experiment_id=ensure_experiment("training")) as run:
        for name, table in tables.items():
            table.to_parquet(tmp_path / f"{name}.parquet")
            mlflow.log_artifact(str(tmp_path / f"{name}.parquet"), "data")
    client.create_registered_model(NAME)
    tags = {"finetuned_model_uri": "models:/a/1", "training_run_id": run.info.run_id}
    client.create_model_version(NAME, source=str(home / "1"), tags=tags)
    version = registry.find_version(NAME, "1")
    rows = load_held_out_rows(version, version)
    assert rows.held_out["text"].tolist() == ["Thanks", "yes"]
    assert rows.all == 3
