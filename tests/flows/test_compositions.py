"""A pipeline of several models, from its file to an answer."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml

from flows.build_inference_pipeline import build_inference_pipeline
from pyfunc.composition.tree import Cascade
from pyfunc.spec import PipelineSpec
from tasks.building import packaging
from tasks.building.members import add_members, downloaded_members
from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY, get_settings
from tasks.composition.planning import plan_composition
from tasks.promotion.held_out_answers import answer_rows, load_held_out_rows
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL
from tasks.tracking.pipeline_members import origins_of
from tests.support.builders import build_unverified, train_unevaluated, use_home
from tests.support.built_once import BuiltHome
from tests.support.scoring_command import state_folder

TEXTS = ["a great film, number 7", "an awful film", "a great film, number 7", "很好看的电影"]


@pytest.fixture(scope="module")
def _home(
    _trained_original: BuiltHome, tmp_path_factory: pytest.TempPathFactory, labelled_csv: Path
) -> Path:
    """A state folder with a transformer of reviews, a static model of them and one of kinds.

    It has no pipeline.
    """
    home = state_folder(_trained_original.home, tmp_path_factory.mktemp("composed") / "var")
    kinds = labelled_csv.with_name("kinds.csv")
    rows = pd.read_csv(labelled_csv)
    kind = ["long" if row % 3 else "short" for row in range(len(rows))]
    pd.DataFrame({"text": rows["text"] + " of a kind", "label": kind}).to_csv(kinds, index=False)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(home, monkeypatch)
        connect().delete_registered_model(PIPELINE_MODEL)
        connect().delete_registered_model_alias(FINETUNED_MODEL, "champion")
        train_unevaluated("static", labelled_csv)
        train_unevaluated("static", kinds)
    return home


@pytest.fixture
def home(_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_home(_home, monkeypatch)
    connect()
    yield _home
    get_settings.cache_clear()


FAST = {"engine": "torch", "precision": "f32"}

ROUTED: dict[str, Any] = {
    "members": {
        "quick": {"model": 2},
        "film": {"model": "models:/dl_finetuned_model/1", **FAST},
        "again": {"model": 1, "max_tokens": 16, **FAST},
        "kind": {"model": "latest"},
    },
    "answer": {
        "route": {"label_of": "kind"},
        "to": {"long": {"cascade": ["quick", {"average": ["film", "again"]}], "least": 0.9}},
        "else": "film",
    },
}


def write(folder: Path, content: Any) -> str:
    path = folder / "reviews.yaml"
    if not isinstance(content, str):
        content = yaml.safe_dump(content, sort_keys=False)
    path.write_text(content)
    return str(path)


@pytest.fixture(scope="module")
def built(_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(_home, monkeypatch)
        report: dict[str, Any] = build_inference_pipeline(
            composition=write(tmp_path_factory.mktemp("file"), ROUTED)
        )
    get_settings.cache_clear()
    return report


def test_a_composition_is_built_from_its_file(home: Path, built: dict[str, Any]) -> None:
    assert built["members"] == {
        name: f"models:/dl_finetuned_model/{number}"
        for name, number in (("quick", 2), ("film", 1), ("again", 1), ("kind", 3))
    }
    assert built["alias"] == "champion"
    assert set(built["composition"]["members"]) == {"quick", "film", "again", "kind"}
    assert built["composition"]["members"]["kind"]["accuracy"] is None
    version = registry.find_version("inference_pipeline_model", "champion")
    assert {name: origin.decides for name, origin in origins_of(version).items()} == {
        "quick": True,
        "film": True,
        "again": True,
        "kind": False,
    }
    assert json.loads(version.tags["answer"])["else"] == "film"
    assert "### again" in str(version.description)
    model = resolve_scoring_model("champion")
    expected = "static f32 on cpu (kind, quick), torch f32 on cpu (film, again)"
    assert model.engine_in_words == expected
    alike = dict.fromkeys(model.engines, "static f32 on cpu")
    assert model.model_copy(update={"engines": alike}).engine_in_words == "static f32 on cpu"
    # Of several fine-tuned versions inside, none is the champion.
    assert registry.get_aliases("dl_finetuned_model") == {}


def test_equal_weights_are_shipped_once(home: Path, built: dict[str, Any], tmp_path: Path) -> None:
    found = mlflow.artifacts.download_artifacts(
        built["inference_pipeline_model"], dst_path=str(tmp_path)
    )
    folder = Path(found) / "artifacts" / "pipeline"
    spec = PipelineSpec.read(folder)
    assert spec.members["film"].folder == spec.members["again"].folder == "film"
    assert (spec.members["film"].max_tokens, spec.members["again"].max_tokens) == (32, 16)
    assert {path.name for path in (folder / "members").iterdir()} == {"quick", "film", "kind"}


LOADS = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(pd.DataFrame({"text": json.loads(sys.argv[2])}))["text"].tolist()))
"""


def test_it_answers_in_a_new_process_without_the_repository(
    home: Path, built: dict[str, Any], tmp_path: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-I", "-c", LOADS, built["inference_pipeline_model"], json.dumps(TEXTS)],
        cwd=tmp_path,
        env={
            "MLFLOW_TRACKING_URI": get_settings().tracking_uri,
            "MILLSTREAM_HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(text) for text in json.loads(process.stdout.splitlines()[-1])]
    assert [answer["metadata"]["cached"] for answer in answers] == [False, False, True, False]
    for answer in answers:
        model, response = answer["model_metadata"], answer["response"]
        members = {member["name"]: member for member in model["members"]}
        assert members["kind"]["label"] in ("long", "short")
        assert model["finetuned_model_uri"] == members[model["decided_by"]]["uri"]
        if members["kind"]["label"] == "short":
            assert set(members) == {"kind", "film"}
        elif len(members) == 2:
            assert members["quick"]["score"] == response["prediction_score"] >= 0.9
        else:
            assert set(members) == {"kind", "quick", "film", "again"}
            mean = (members["film"]["score"] + members["again"]["score"]) / 2
            assert response["prediction_score"] == pytest.approx(mean, abs=0.5)
            assert members["quick"]["score"] < 0.9


def test_an_equal_composition_is_not_built_again(
    home: Path, built: dict[str, Any], tmp_path: Path
) -> None:
    logged = packaging.log_pipeline(plan_composition(write(tmp_path, ROUTED)))
    assert logged.reused
    assert logged.fingerprint == built["fingerprint"]
    changed = ROUTED["answer"] | {"else": "again"}
    other = plan_composition(write(tmp_path, ROUTED | {"answer": changed}))
    assert packaging.log_pipeline(other).fingerprint != built["fingerprint"]


@pytest.mark.parametrize(
    ("rule", "same"),
    [("THRESHOLD_RULE", [True, False, True]), ("QUANTISATION_RULE", [True, True, False])],
)
def test_what_was_made_by_another_rule_is_made_anew(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, same: list[bool]
) -> None:
    plan = plan_composition(write(tmp_path, ROUTED))
    is_open = plan.model_copy(update={"answer": Cascade(("quick", "film"), None)})
    film = plan.members["film"].model_copy(update={"precision": "int8"})
    quantised = plan.model_copy(update={"members": plan.members | {"film": film}})
    plans = (plan, is_open, quantised)
    before = [packaging._build_key(plan, {}, packaging.PACKAGE) for plan in plans]
    monkeypatch.setattr(packaging, rule, 0)
    after = [packaging._build_key(plan, {}, packaging.PACKAGE) for plan in plans]
    assert [old == new for old, new in zip(before, after, strict=True)] == same


def test_members_that_are_alike_are_gated_once(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tokens = {"film": {}, "again": {"max_tokens": 32}, "short": {"max_tokens": 16}}
    # Not FAST, whose gates a version has.
    members = {name: {"model": 1, "engine": "torch", **limit} for name, limit in tokens.items()}
    plan = plan_composition(write(tmp_path, {"members": members, "answer": {"vote": [*members]}}))
    with downloaded_members(plan) as downloaded:
        built = add_members(tmp_path / "artifact", plan, downloaded)
    passed = [text.partition(" passed: ")[0] for text in caplog.messages if " passed: " in text]
    assert passed == ["film, again: torch f32", "short: torch f32"]
    assert list(built) == list(members)
    assert built["film"] == built["again"]
    assert built["short"].spec == replace(built["film"].spec, max_tokens=16)


def test_a_single_model_is_compared_with_a_composition(home: Path, built: dict[str, Any]) -> None:
    report = build_unverified("1")
    assert "test rows are new to it and to champion 1; expected 200 or more" in report["reason"]
    assert registry.get_aliases("dl_finetuned_model") == {"challenger": 1}
    versions = [registry.find_version("inference_pipeline_model", number) for number in "21"]
    rows = load_held_out_rows(*versions).held_out
    assert answer_rows(rows, *versions).counts.accuracy_of_present == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"film": {"model": 9}}, r"members.film.model: dl_finetuned_model: no version '9'"),
        ({"film": {"model": "models:/other/1"}}, r"members.film.model: 'models:/other/1'; exp"),
        (
            {"film": {"model": 3}},
            r"answer.to.long.cascade\[1\].average\[1\]: the labels \['negative', 'positive'\]",
        ),
        ({"quick": {"model": 2, **FAST}}, r"members.quick.engine: 'torch'; expected auto, since"),
        (
            {"quick": {"model": 2, "precision": "int8"}},
            r"members.quick.precision: 'int8'; expected auto or f32, since models:/.* static",
        ),
        (
            {"film": {"model": 1, "max_tokens": 513}},
            r"members.film.max_tokens: 513; expected 512 at most, the positions of models:/.*/1$",
        ),
        ({"kind": {"model": 1}}, r"answer.to: \['long'\]; expected labels of kind: \['neg"),
    ],
)
def test_a_member_that_does_not_fit_is_refused_before_any_work(
    home: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path, ROUTED | {"members": ROUTED["members"] | change})
    with pytest.raises(ParameterError, match=f"^{path}: {reason}"):
        build_inference_pipeline(composition=path)


def test_a_threshold_that_no_rows_can_choose_is_refused_before_any_work(
    home: Path, tmp_path: Path
) -> None:
    answer = {"cascade": ["quick", "film"], "least": "auto"}
    members = {name: ROUTED["members"][name] for name in ("quick", "film")}
    path = write(tmp_path, {"members": members, "answer": answer})
    with pytest.raises(ParameterError, match=f"^{path}: least: auto needs 500 test rows that no "):
        plan_composition(path)


def command(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.build_inference_pipeline", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_refuses_a_bad_file_before_a_server_starts(tmp_path: Path) -> None:
    path = write(tmp_path, "members: {film: {model: 1}}\nanswer: flim")
    found = command(["--composition", path])
    assert found.returncode == ParameterError.exit_code
    line = f"error: {path}: answer: 'flim'; expected a member: ['film']\n"
    assert found.stderr == line
    assert found.stdout == ""


def test_the_command_refuses_parameters_that_belong_into_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "members: {film: {model: 1}}\nanswer: film")
    found = command(["--composition", path, "--precision", "int8"])
    assert found.returncode == ParameterError.exit_code
    assert found.stderr == f"error: precision: 'int8' beside a composition; expected it in {path}\n"
