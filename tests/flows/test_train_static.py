"""A static model through the flows: trained, taught, wrapped, scored and explained."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tasks.common.errors import DataError, ModelError, ParameterError
from tasks.dataset.splitting import PARTS, assign_part
from tasks.static_model import flavour
from tasks.tracking.mlflow_client import connect
from tasks.training.finetuned_model import downloaded_classifier
from tasks.training.logged_rows import select_unseen
from tests.support.builders import Trained, build_unverified, train_tiny

pytestmark = pytest.mark.usefixtures("prefect_harness")


def train_static(data: Path, **parameters: Any) -> dict[str, Any]:
    return train_tiny("static", data, **parameters)


@pytest.mark.usefixtures("new_database")
def test_it_is_trained_measured_and_registered(labelled_csv: Path) -> None:
    report = train_static(labelled_csv)
    run = connect().get_run(report["finetuned_run_id"])
    assert report["test_accuracy"] > 0.9
    assert run.data.params["base_model"] == "static"
    unused = {"epochs", "learning_rate", "batch_size", "min_steps", "strategy", "checkpoint_steps"}
    assert not unused & run.data.params.keys()
    assert {"temperature", "train_seconds", "best_validation_loss"} <= run.data.metrics.keys()
    classifier = flavour.load_model(report["finetuned_model"])
    assert classifier.predict(["a great film"])[0].label == "positive"
    signature = mlflow.models.get_model_info(report["finetuned_model"]).signature
    assert signature.inputs.input_names() == ["text"]
    assert signature.outputs.input_names() == ["label", "score"]
    assert "not_made" not in report
    with pytest.raises(ParameterError, match=r"^engine: 'torch'; .* is a static model, which"):
        build_unverified(report["finetuned_model"], engine="torch")
    # Parameters of a transformer change nothing.
    assert train_static(labelled_csv, epochs=9, learning_rate=0.5)["reused"]


def test_it_learns_the_probabilities_of_a_teacher(trained: Trained, labelled_csv: Path) -> None:
    teacher = trained.training["finetuned_model"]
    report = train_static(labelled_csv, teacher=teacher.rpartition("/")[2])
    run = connect().get_run(report["finetuned_run_id"])
    assert run.data.params["teacher"] == teacher
    assert report["test_accuracy"] > 0.9
    with (
        downloaded_classifier(teacher) as taught_by,
        downloaded_classifier(report["finetuned_model"]) as taught,
    ):
        tokenizers = [folder / "tokenizer.json" for folder in (taught_by, taught)]
        # So a cascade tokenises a text once.
        assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()


def test_a_teacher_with_other_labels_is_refused_before_a_run(
    trained: Trained, tmp_path: Path
) -> None:
    data = tmp_path / "other.csv"
    rows = [
        (f"text {n} {'spam' if n % 2 else 'ham'}", "spam" if n % 2 else "ham") for n in range(60)
    ]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(data, index=False)
    with pytest.raises(ModelError, match=r"teacher: models:/.* has the labels .*; expected .*ham"):
        train_static(data, teacher=trained.training["finetuned_model"])
    with pytest.raises(ParameterError, match=r"^teacher: dl_finetuned_model: no version '99'; "):
        train_static(data, teacher="99")


def test_a_teacher_of_a_transformer_is_refused(tiny_base: Path, labelled_csv: Path) -> None:
    with pytest.raises(ParameterError, match=r"teacher: given for the base_model .*; expected"):
        train_tiny(tiny_base, labelled_csv, teacher="1")


@pytest.mark.slow
def test_it_goes_from_labels_to_scores_and_their_explanation(
    new_database: None, labelled_csv: Path, tmp_path: Path
) -> None:
    from flows.end_to_end import end_to_end
    from flows.explain_prediction import explain_prediction

    output = tmp_path / "scored"
    report = end_to_end(
        source=str(labelled_csv), base_model="static", output_dir=str(output), held_out_shards=2
    )
    assert report["engine"] == "static f32 on cpu"
    path = mlflow.pyfunc.get_model_dependencies(report["inference_pipeline_model"])
    assert not {"torch", "transformers", "openvino"} & {
        line.split("==")[0] for line in Path(path).read_text("utf-8").splitlines()
    }
    rows = pq.read_table(next((output / "predictions").glob("*.parquet")))
    assert set(rows["prediction_label"].to_pylist()) <= {"positive", "negative"}
    chain = explain_prediction(str(output), rows["shard"][0].as_py(), 1, verify=True)
    assert chain["verified"]
    assert chain["training_run"] == report["finetuned_run_id"]


def test_rows_without_a_label_are_taught_and_never_measured(
    trained: Trained, labelled_csv: Path, tmp_path: Path
) -> None:
    teacher = trained.training["finetuned_model"]
    labelled = pd.read_csv(labelled_csv)
    unlabelled = pd.DataFrame(
        {"text": [f"a film of the year {year}" for year in range(1900, 2000)]}
    )
    data = tmp_path / "some.csv"
    pd.concat([labelled, unlabelled]).to_csv(data, index=False)
    report = train_static(data, teacher=teacher)
    run = connect().get_run(report["finetuned_run_id"])
    expected = [t for t in unlabelled["text"] if assign_part(t, 0.1, 0.1) == "train"]
    assert 60 < len(expected) < 100
    assert report["rows_unlabelled"] == run.data.metrics["unlabelled_rows"] == len(expected)
    folder = Path(report["split_folder"])
    parts = [pd.read_parquet(folder / f"{part}.parquet") for part in PARTS]
    assert sum(map(len, parts)) == len(labelled) == report["rows_kept"]
    seen = pd.DataFrame({"text": expected, "label": "positive"})
    assert select_unseen(seen, run.info.run_id).empty
    # Without a teacher nobody knows what they mean.
    with pytest.raises(DataError, match=r"row 301: the label is .*; expected one label a row"):
        train_static(data)
