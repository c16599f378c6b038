import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from tasks.tracking.mlflow_client import connect
from tests.support.builders import Trained, train_tiny

pytestmark = pytest.mark.usefixtures("new_database")


def test_mlflow_holds_parameters_and_the_way_of_loss_and_accuracy(trained: Trained) -> None:
    client = connect()
    run = client.get_run(trained.training["finetuned_run_id"])
    assert run.data.params["strategy"] == "full"
    assert run.data.params["epochs"] == "2"
    assert run.data.params["bf16"] in ("True", "False")
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert len(set(steps)) >= 2, name


def test_mlflow_holds_the_data_set_with_digest_and_distributions(trained: Trained) -> None:
    run = connect().get_run(trained.training["finetuned_run_id"])
    assert run.inputs is not None
    dataset = run.inputs.dataset_inputs[0].dataset
    digest = run.data.tags["data_digest"]
    assert len(digest) == 64
    assert digest.startswith(dataset.digest)
    path = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="data/split.json"
    )
    distributions = json.loads(Path(path).read_text())["distributions"]
    assert distributions["labels"] == {"negative": 150, "positive": 150}
    assert sum(distributions["languages"].values()) == 300
    assert distributions["words"]["median"] == 5


def test_mlflow_holds_test_figures_and_pictures(trained: Trained) -> None:
    client = connect()
    run = client.get_run(trained.training["finetuned_run_id"])
    for name in ("test_accuracy", "test_f1", "test_roc_auc"):
        assert 0.9 < run.data.metrics[name] <= 1, name
    assert 0 <= run.data.metrics["test_calibration_error"] < 0.5
    for name in ("confusion_matrix", "roc_curve", "loss_curve"):
        path = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path=f"evaluation/{name}.png"
        )
        with Image.open(path) as picture:
            assert picture.size[0] > 300


def test_mlflow_holds_package_versions_and_the_commit(trained: Trained) -> None:
    run = connect().get_run(trained.training["finetuned_run_id"])
    packages = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/packages.json")
    assert packages["transformers"].startswith("5.")
    assert run.data.tags["git_commit"]


def test_the_registered_model_loads_in_its_native_flavour_with_label_names(
    trained: Trained,
) -> None:
    pipeline = mlflow.transformers.load_model(trained.training["finetuned_model"])
    assert pipeline("a great film")[0]["label"] == "positive"
    assert pipeline("an awful film")[0]["label"] == "negative"
    signature = mlflow.models.get_model_info(trained.training["finetuned_model"]).signature
    assert signature.inputs.input_names() == ["text"]


def test_an_equal_training_is_not_repeated(
    trained: Trained, tiny_base: Path, labelled_csv: Path
) -> None:
    again = train_tiny(tiny_base, labelled_csv)
    assert again["reused"]
    assert again["finetuned_run_id"] == trained.training["finetuned_run_id"]
    assert again["finetuned_model"] == trained.training["finetuned_model"]


def test_the_same_seed_gives_the_same_numbers(
    trained_anew: Trained, tiny_base: Path, labelled_csv: Path
) -> None:
    again = train_tiny(tiny_base, labelled_csv, reuse=False)
    assert not again["reused"]
    first, second = (
        [point.value for point in connect().get_metric_history(run_id, "train_loss")]
        for run_id in (trained_anew.training["finetuned_run_id"], again["finetuned_run_id"])
    )
    assert first == second != []


def test_freeze_leaves_the_base_as_it_was(
    home: Path, prefect_harness: None, tiny_base: Path, labelled_csv: Path
) -> None:
    from transformers import AutoModel

    report = train_tiny(tiny_base, labelled_csv, strategy="freeze", epochs=1)
    tuned = mlflow.transformers.load_model(report["finetuned_model"]).model
    before = AutoModel.from_pretrained(tiny_base).state_dict()
    after = tuned.base_model.state_dict()
    assert all(before[name].equal(after[name]) for name in before)


def test_three_labels_given_as_numbers_get_their_names(
    home: Path, prefect_harness: None, tiny_base: Path, tmp_path: Path
) -> None:
    words = ("bad", "fair", "good")
    rows = [{"body": f"{words[n % 3]} thing {n}", "stars": n % 3} for n in range(120)]
    data = tmp_path / "rated.jsonl"
    pd.DataFrame(rows).to_json(data, orient="records", lines=True)
    report = train_tiny(
        tiny_base,
        data,
        text_column="body",
        label_column="stars",
        label_names=["poor", "middling", "fine"],
        epochs=1,
    )
    model = mlflow.transformers.load_model(report["finetuned_model"]).model
    assert model.config.id2label == {0: "poor", 1: "middling", 2: "fine"}


def test_bf16_is_used_where_the_machine_has_it(trained: Trained) -> None:
    from pyfunc.engines.torch import supported_precisions

    run = connect().get_run(trained.training["finetuned_run_id"])
    assert run.data.params["bf16"] == str("bf16" in supported_precisions())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"base_model": "/nowhere/at all"}, "base_model: '/nowhere/at all' is no folder"),
        ({"max_tokens": 4_000}, "max_tokens: 4000; .* reads 512 at most"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    home: Path,
    prefect_harness: None,
    tiny_base: Path,
    labelled_csv: Path,
    parameters: dict[str, Any],
    message: str,
) -> None:
    from tasks.common.errors import MillstreamError

    with pytest.raises(MillstreamError, match=message) as caught:
        train_tiny(**{"base_model": tiny_base, "data": labelled_csv} | parameters)
    assert "\n" not in str(caught.value)
    assert not list((home / "checkpoints").glob("*/checkpoint-*"))


def test_the_artifact_of_a_training_moves_to_its_end(
    prefect_harness: None, home: Path, tiny_base: Path, labelled_csv: Path
) -> None:
    with get_client(sync_client=True) as client:
        train_tiny(tiny_base, labelled_csv, seed=7)
        found = client.read_artifacts(sort=ArtifactSort.CREATED_DESC)
    progress = next(artifact for artifact in found if artifact.key == "training-progress")
    assert progress.data == 100
    assert str(progress.description).startswith("468 of 468 rows, ")
