"""An intent classifier decides which content classifier answers, on real reviews of two sources."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml

from tasks.building import packaging
from tasks.composition.planning import plan_composition
from tasks.dataset.sources import EMBEDDED, fetch_tables
from tasks.training.logged_rows import load_joint_test_rows, select_unseen_by_all
from tests.support.builders import train_unevaluated

ROWS = 1_000  # of each source
ROUTED = {"route": {"label_of": "kind"}, "to": {"imdb": "imdb"}, "else": "rotten_tomatoes"}


def write_tables(folder: Path) -> dict[str, Path]:
    """Write labelled rows of each source, of both, and of both with the source as the label."""
    parts = {
        source: pd.read_csv(*fetch_tables(source)).sample(ROWS, random_state=0)
        for source in EMBEDDED
    }
    both = pd.concat(parts, names=["source"]).reset_index("source")
    kinds = both[["text"]].assign(label=both["source"])
    tables = {**parts, "both": both[["text", "label"]], "kind": kinds}
    for name, rows in tables.items():
        rows.to_csv(folder / f"{name}.csv", index=False)
    return {name: folder / f"{name}.csv" for name in tables}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness", "new_database")
def test_the_model_of_its_source_answers_a_review(home: Path, tmp_path: Path) -> None:
    trained = {
        name: train_unevaluated("static", path) for name, path in write_tables(tmp_path).items()
    }
    members = {name: {"model": trained[name]["finetuned_model"]} for name in (*EMBEDDED, "kind")}
    file = tmp_path / "reviews.yaml"
    file.write_text(yaml.safe_dump({"members": members, "answer": ROUTED}))
    logged = packaging.log_pipeline(plan_composition(str(file)))
    routed = mlflow.pyfunc.load_model(logged.model_uri)
    both = mlflow.pyfunc.load_model(trained["both"]["finetuned_model"])
    runs = {name: report["finetuned_run_id"] for name, report in trained.items()}
    right: dict[str, list[bool]] = {"routed": [], "both": []}
    for source in EMBEDDED:
        rows = select_unseen_by_all(load_joint_test_rows([runs[source]]), runs.values())
        answers = [json.loads(text) for text in routed.predict(rows[["text"]])["text"]]
        decided = [answer["model_metadata"]["decided_by"] for answer in answers]
        assert decided.count(source) > 0.95 * len(rows) > 50
        labels = [answer["response"]["prediction_label"] for answer in answers]
        right["routed"] += list(rows["label"] == labels)
        right["both"] += list(rows["label"] == both.predict(rows[["text"]])["label"])
    accuracy = {name: sum(found) / len(found) for name, found in right.items()}
    # Half of the labels are either one.
    assert accuracy["routed"] > 0.6
    assert accuracy["routed"] > accuracy["both"] - 0.05
