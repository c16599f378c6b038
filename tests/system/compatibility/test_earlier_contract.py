"""Versions that earlier code built are scored, resumed, explained and compared by today's code.

`pyfunc_<commit>.zip` is the folder `pyfunc/` of that commit, as each version ships it: fc9e078 is
the first commit of contract 3, bfee3c2 the last. The artifact around it is that of the commit: one
model beside the code, and no `members/`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema

from flows.explain_prediction import explain_prediction
from flows.score_shards import score_shards
from pyfunc.classifier import read_labels
from tasks.building import packaging
from tasks.building.build_records import COMPLETE_TAG, RECORD
from tasks.common.errors import ModelError, ParameterError
from tasks.common.settings import get_settings
from tasks.composition.types import PipelineParameters, PipelinePlan
from tasks.promotion.aliases import promote_by_hand
from tasks.promotion.held_out_answers import answer_rows
from tasks.promotion.rules import decide_promotion
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import BUILDING_EXPERIMENT, PIPELINE_MODEL, RegisteredModel
from tasks.tracking.pipeline_loader import load_pipeline, load_typed_pipeline, predict_documents
from tasks.training.finetuned_model import downloaded_classifier, temperature_of
from tasks.training.logged_rows import load_test_rows
from tests.support.builders import Trained, use_home
from tests.support.scoring_command import state_folder

HERE = Path(__file__).parent
FIRST, LAST = "fc9e078", "bfee3c2"

TEXTS = ["a great film", "an awful film", "", "so what", "a great film", "很好看的电影", "awful"]


@dataclass(frozen=True)
class Earlier:
    """A state folder with versions of earlier code, by the commit of their package."""

    home: Path
    finetuned: str
    versions: dict[str, str]


@pytest.fixture(scope="module")
def _earlier_once(
    _trained_once: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Earlier]:
    folder = tmp_path_factory.mktemp("earlier")
    home = state_folder(_trained_once.home, folder / "var")
    finetuned = _trained_once.training["finetuned_model"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(home, monkeypatch)
        connect()
        versions = {
            commit: register_earlier(unpacked(commit, folder / commit), finetuned, commit)
            for commit in (FIRST, LAST)
        }
        older = unpacked(LAST, folder / "older")
        contract = older / "pyfunc" / "contract.py"
        contract.write_text(contract.read_text().replace("CONTRACT = 3", "CONTRACT = 2"))
        versions["older"] = register_earlier(older, finetuned, LAST)
        yield Earlier(home, finetuned, versions)


@pytest.fixture
def earlier(_earlier_once: Earlier, monkeypatch: pytest.MonkeyPatch) -> Iterator[Earlier]:
    use_home(_earlier_once.home, monkeypatch)
    connect()
    yield _earlier_once
    get_settings.cache_clear()


def unpacked(commit: str, folder: Path) -> Path:
    shutil.unpack_archive(HERE / f"pyfunc_{commit}.zip", folder)
    return folder


def register_earlier(artifact: Path, finetuned: str, commit: str) -> str:
    """Log and register what a build of that commit did, with the engine torch in f32."""
    version = RegisteredModel.from_uri(finetuned)
    run_id = str(connect().get_model_version(version.name, str(version.version)).run_id)
    with downloaded_classifier(finetuned) as classifier:
        shutil.copytree(classifier, artifact / "classifier")
        labels = read_labels(classifier)
    variant = {"engine": "torch", "precision": "f32"}
    spec: dict[str, Any] = {
        "kind": "full",
        "finetuned_model_uri": finetuned,
        "max_tokens": 32,
        "variants": [variant],
    }
    parameters = packaging.signature_of(None).params.params
    if commit == LAST:
        spec["temperature"] = temperature_of(run_id)
    else:
        parameters = [found for found in parameters if found.name != "all_scores"]
    (artifact / "pipeline.json").write_text(json.dumps(spec))
    described = {name: value for name, value in spec.items() if name != "variants"}
    described |= {"fingerprint": "0" * 64, "training_run_id": run_id, **variant}
    experiment = ensure_experiment(BUILDING_EXPERIMENT)
    with mlflow.start_run(experiment_id=experiment) as run:
        info = mlflow.pyfunc.log_model(
            name=PIPELINE_MODEL,
            python_model=str(artifact / "pyfunc" / "model.py"),
            artifacts={"pipeline": str(artifact)},
            signature=ModelSignature(
                inputs=packaging.signature_of(None).inputs,
                outputs=packaging.signature_of(None).outputs,
                params=ParamSchema(parameters),
            ),
            input_example=pd.DataFrame({"text": ["an example"]}),
            model_config={"cache_dir": "", "cache_size_limit": ""},
            pip_requirements=[],
        )
        uri = f"models:/{info.model_id}"
        gates = [{**variant, "rows": 0, "agreement": None, "accuracy": None, "reason": ""}]
        record = described | {"run_id": run.info.run_id, "model_uri": uri, "gates": gates}
        mlflow.log_dict(record | {"labels": labels, "reused": False}, RECORD)
        mlflow.set_tag(COMPLETE_TAG, RECORD)
    tags = {name: str(value) for name, value in described.items()}
    tags |= {"gates": json.dumps(gates), "git_commit": commit}
    return registry.register_version(PIPELINE_MODEL, uri, run_id=run.info.run_id, tags=tags).uri


def scored(folder: Path, uri: str, **parameters: Any) -> dict[str, Any]:
    pd.DataFrame({"text": TEXTS}).to_parquet(folder / "rows.parquet")
    settings: dict[str, Any] = {"model_uri": uri, "shard_rows": 3}
    settings |= {"languages": ["en", "yo"], "language_policy": "flag"}
    summary: dict[str, Any] = score_shards(
        [str(folder / "rows.parquet")], str(folder / "out"), **settings | parameters
    )
    return summary


@pytest.mark.parametrize("commit", [FIRST, LAST])
def test_version_of_the_contract_before_is_scored_and_resumed(
    earlier: Earlier, tmp_path: Path, commit: str
) -> None:
    uri = earlier.versions[commit]
    told = scored(tmp_path, uri, dry_run=True)
    assert (told["rows"], told["expected_model_calls"], told["shards_to_score"]) == (7, 5, 3)
    summary = scored(tmp_path, uri)
    assert (summary["scored"], summary["rejected"], summary["model_calls"]) == (6, 1, 5)
    rows = pd.read_parquet(tmp_path / "out" / "predictions").sort_values("row")
    assert "prediction_members" not in rows
    documents = predict_documents(load_pipeline(uri), TEXTS, use_cache=False, batch_tokens=100)
    answered = [document for document in documents if document["response"]]
    for part, names in (
        ("response", ["prediction_label", "prediction_score"]),
        ("metadata", ["language_detected", "language_reliable", "truncated"]),
        ("model_metadata", ["finetuned_model_uri", "inference_pipeline_model_uri"]),
    ):
        for name in names:
            found = [document[part][name] for document in answered]
            assert rows[name].tolist() == pytest.approx(found, abs=1e-6), name
    (tmp_path / "out" / "predictions" / f"{rows['shard'].iloc[0]}.parquet").unlink()
    told = scored(tmp_path, uri, dry_run=True)
    assert (told["shards_to_skip"], told["expected_cache_hits"]) == (2, 2)
    again = scored(tmp_path, uri)
    assert (again["shards_skipped"], again["cache_hits"], again["scored"]) == (2, 2, 6)
    shard, row = rows[["shard", "row"]].iloc[-1]
    chain = explain_prediction(str(tmp_path / "out"), shard, int(row), verify=True)
    assert chain["verified"].startswith("same label, scores within ")
    assert chain["computed_by_version"] == uri
    assert chain["pipeline_code_commit"] == commit


def test_version_of_the_contract_before_has_gcld3(earlier: Earlier, tmp_path: Path) -> None:
    given: dict[str, Any] = {"dry_run": True, "language_policy": "reject"}
    told = scored(tmp_path, earlier.versions[LAST], languages=["zh"], **given)
    assert told["rows_that_cannot_be_scored"] == len(TEXTS) - 1
    with pytest.raises(ParameterError, match=r"^languages: \['yue'\]"):
        scored(tmp_path, earlier.versions[LAST], languages=["yue"], **given)


def test_scores_of_all_labels_come_from_versions_that_have_them(
    earlier: Earlier, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="was built without all_scores; expected a version that"):
        scored(tmp_path, earlier.versions[FIRST], all_scores=True)
    scored(tmp_path, earlier.versions[LAST], all_scores=True)
    rows = pd.read_parquet(tmp_path / "out" / "predictions")
    for scores, label, score in zip(
        rows["prediction_scores"], rows["prediction_label"], rows["prediction_score"], strict=True
    ):
        assert dict(scores)[label] == score


def test_challenger_of_today_is_compared_with_a_champion_of_the_contract_before(
    earlier: Earlier,
) -> None:
    champion = earlier.versions[LAST]
    promote_by_hand(champion, "of the contract before")
    parameters = PipelineParameters(engine="torch", precision="f32", max_tokens=24)
    plan = PipelinePlan.of(RegisteredModel.from_uri(earlier.finetuned), parameters)
    logged = packaging.log_pipeline(plan)
    tags = packaging.version_tags(logged)
    registered = registry.register_version(
        PIPELINE_MODEL, logged.model_uri, run_id=logged.run_id, tags=tags
    )
    pair = (registry.find_version(PIPELINE_MODEL, uri) for uri in (registered.uri, champion))
    found = answer_rows(load_test_rows(logged.members["model"].training_run_id), *pair)
    assert found.counts.accuracy_of_other == found.counts.accuracy_of_present == 1
    assert found.flips == 0
    assert decide_promotion(registered, "if_better").alias == "challenger"
    assert decide_promotion(registered, "always").alias == "champion"
    # And back, as by hand.
    assert promote_by_hand("previous", "back").uri == champion


def test_older_version_is_refused_with_the_command_that_builds_it_again(
    earlier: Earlier, tmp_path: Path
) -> None:
    uri = earlier.versions["older"]
    command = (
        f"python -m flows.build_inference_pipeline --finetuned-model {earlier.finetuned} "
        "--promotion always builds now"
    )
    expected = f"{uri}: ships code of contract 2; expected 4 or 3, of a version that {command}"
    for parameters in ({}, {"dry_run": True}):
        with pytest.raises(ModelError) as error:
            scored(tmp_path, uri, **parameters)
        assert str(error.value) == expected
    assert not [*(tmp_path / "out").rglob("*.parquet")]
    name, number = uri.removeprefix("models:/").split("/")
    logged = str(connect().get_model_version(name, number).source)
    with pytest.raises(ModelError, match=f"^{logged}: ships code of contract 2; .*{command}$"):
        load_typed_pipeline(logged)
    connect().delete_model_version(name, number)
    with pytest.raises(ModelError, match=r"that python -m flows\.build_inference_pipeline builds"):
        load_typed_pipeline(logged)
