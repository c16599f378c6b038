"""Which versions and outputs a clean-up frees, and what becomes of one that is interrupted."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from filelock import FileLock
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from flows.clean_up import clean_up
from flows.explain_prediction import explain_prediction
from flows.promote_pipeline import promote_pipeline
from flows.score_shards import score_shards
from pyfunc.cache.contents import drop_answers_of
from tasks.common.errors import ModelError, ParameterError
from tasks.common.settings import get_settings
from tasks.maintenance import stale_outputs, stale_versions
from tasks.maintenance.types import CleanupResult, Limits
from tasks.maintenance.version_retention import Version, reasons_to_keep
from tasks.output.folder import locked_folder
from tasks.tracking import logged_models
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import FINETUNED_MODEL as FINETUNED
from tasks.tracking.names import PIPELINE_MODEL as PIPELINE
from tasks.training.mlflow_run import find_run
from tests.support.builders import build_composed, train_tiny
from tests.tasks.maintenance.steps import (
    F1,
    F2,
    F3,
    P1,
    P2,
    P3,
    QUICK,
    Killed,
    build,
    bytes_in,
    cached,
    clean,
    clean_outputs,
    clean_versions,
    content,
    faulty,
    killed,
    make_checkpoints,
    make_old,
    names,
    score,
    shard_of,
    versions_left,
)

# Versions


def test_superseded_versions_are_told_then_freed_with_their_bytes(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(state)
    told = clean_up(keep_versions=0, older_than_days=0)
    assert content(state) == before
    assert names(told) == {P1, F1}
    assert not told["applied"]
    artifacts = bytes_in(state / "mlartifacts")
    capsys.readouterr()
    done = clean_up(apply=True, kinds=["versions"], keep_versions=0, older_than_days=0)
    assert names(done) == {P1, F1}
    assert done["versions"] == told["versions"]
    shown = capsys.readouterr().out
    assert "Cleaned up" in shown
    assert P1 in shown
    assert artifacts - bytes_in(state / "mlartifacts") == done["versions"]["bytes"] > 200_000
    assert versions_left() == {P2, P3, F2, F3}
    assert len(list((state / "mlartifacts").glob("*/models/*"))) == 4
    assert clean_versions()["versions"] == {"items": 0, "bytes": 0}


def test_champion_and_kept_records_outlive_a_clean_up(state: Path, tmp_path: Path) -> None:
    kept = score(tmp_path / "kept")
    report = clean_versions()
    assert names(report) == {P1, F1}
    chain = explain_prediction(str(kept), shard_of(kept), 1, verify=True)
    assert chain["computed_by_version"] == P3
    model = mlflow.pyfunc.load_model(f"models:/{PIPELINE}@champion")
    assert (
        '"prediction_label"' in model.predict(pd.DataFrame({"text": ["a great film"]}))["text"][0]
    )
    assert promote_pipeline("previous")["champion"] == P2


def test_version_that_a_record_names_stays_until_its_output_is_freed(
    state: Path, tmp_path: Path
) -> None:
    output = score(tmp_path / "elsewhere", model_uri=P1)  # known from MLflow alone
    assert clean_versions()["kept"]["versions"] == {
        "named by an alias": 2,
        "the champion before": 1,
        "referred to by a record or another registered model": 2,
        "inside of a pipeline that stays": 1,
    }
    assert explain_prediction(str(output), shard_of(output), 1, verify=True)["verified"]
    told = clean_versions("outputs", apply=False, output_dirs=(output,))
    assert names(told) == {str(output), P1, F1}
    assert names(clean_versions("outputs", output_dirs=(output,))) == {str(output), P1, F1}
    assert not output.exists()
    assert versions_left() == {P2, P3, F2, F3}


def test_version_that_answered_as_a_shadow_stays_until_its_answers_are_freed(
    state: Path, tmp_path: Path
) -> None:
    output = score(tmp_path / "elsewhere", shadow=(P1,), shadow_fraction=1.0)
    shadow = output / "shadow" / "version-1"
    assert clean_versions()["versions"]["items"] == 0
    freed = names(clean_versions("outputs", output_dirs=(output,)))
    assert freed == {str(output), str(shadow), P1, F1}
    assert not output.exists()


def test_challenger_that_answered_no_row_stays_with_the_record_that_names_it(
    state: Path, tmp_path: Path
) -> None:
    score(tmp_path / "out", text='""', model_uri=P2, split=f"{P1}=0.5")
    assert clean_versions("versions", output_dirs=(tmp_path / "out",))["versions"]["items"] == 0
    assert versions_left() == {P1, P2, P3, F1, F2, F3}


def test_version_that_computed_a_cached_answer_stays_though_another_was_asked(
    asked_state: Path, tmp_path: Path
) -> None:
    alike = build(F1, max_tokens=32)  # what it was trained with
    output = score(tmp_path / "second", model_uri=alike.uri)
    assert clean_versions()["versions"]["items"] == 0
    chain = explain_prediction(str(output), shard_of(output), 1, verify=True)
    assert (chain["asked_version"], chain["computed_by_version"]) == (alike.uri, P1)


def test_version_that_saw_a_row_and_did_not_decide_it_stays(state: Path, tmp_path: Path) -> None:
    answer = {"cascade": ["quick", "film"], "least": 1.0}
    composed = build_composed(answer, {"quick": (F1, 4), "film": (F2, 32)})
    output = score(tmp_path / "out", model_uri=composed)
    (row,) = pd.read_parquet(output / "predictions").to_dict("records")
    assert row["prediction_decided_by"] == "film"
    assert [member["uri"] for member in row["prediction_members"]] == [F1, F2]
    assert clean_versions("versions", apply=False)["versions"]["items"] == 1  # P1
    name, number = composed.removeprefix("models:/").split("/")
    connect().delete_model_version(name, number)
    assert names(clean_versions()) == {P1}


def test_answers_of_a_version_leave_the_cache_with_it(asked_state: Path, tmp_path: Path) -> None:
    score(tmp_path / "second", model_uri=P3)
    before = cached(P3)
    assert cached(P1) > 0
    source = connect().get_model_version(PIPELINE, "1").source
    report = clean_versions()
    assert names(report) == {P1, F1}
    assert report["notes"] == ["1 output folders of earlier runs are gone"]
    assert cached(P3) == before
    assert drop_answers_of(get_settings().prediction_cache, {str(source), F1}) == 0
    assert score_shards([str(tmp_path / "second-rows.csv")], str(tmp_path / "3"))["cache_hits"] == 1


def test_only_answers_that_name_the_model_leave_the_cache(
    asked_state: Path, tmp_path: Path
) -> None:
    cache = get_settings().prediction_cache
    count = cached(P1)
    assert drop_answers_of(cache, {"models:/dl_finetuned_model/11", P1}) == 0
    assert drop_answers_of(cache, {"models:/dl_finetuned_model/11", F1}) == count > 0
    assert drop_answers_of(tmp_path / "none", {F1}) == 0


def test_training_and_build_are_done_anew_when_their_versions_were_freed(
    asked_state: Path, labelled_csv: Path, tmp_path: Path
) -> None:
    run = connect().get_model_version(FINETUNED, "1").run_id
    clean_versions()
    assert "best_validation_loss" in connect().get_run(str(run)).data.metrics
    with pytest.raises(ModelError, match=f"the model of run {run} was freed"):
        find_run(str(run))
    report = train_tiny("static", labelled_csv, seed=1, **QUICK)
    assert not report["reused"]
    assert report["finetuned_model"] == f"models:/{FINETUNED}/4"
    assert train_tiny("static", labelled_csv, seed=1, **QUICK)["reused"]
    pipeline = build(report["finetuned_model"]).uri
    assert pipeline == f"models:/{PIPELINE}/4"
    # It is the same to the bit, and still answers for itself.
    output = score(tmp_path / "after", model_uri=pipeline)
    chain = explain_prediction(str(output), shard_of(output), 1, verify=True)
    assert chain["computed_by_version"] == pipeline


def test_build_whose_version_alone_was_freed_is_done_anew(state: Path) -> None:
    connect().set_registered_model_alias(FINETUNED, "mine", "1")
    assert names(clean_versions()) == {P1}
    assert build(F1).uri == f"models:/{PIPELINE}/4"


def test_newest_and_young_versions_stay(state: Path) -> None:
    assert names(clean_versions(keep_versions=3)) == set()
    assert names(clean_versions(older_than_days=1)) == set()


def test_version_registered_under_another_name_stays(state: Path) -> None:
    client = connect()
    client.copy_model_version(P1, "mine")
    assert names(clean_versions()) == set()


def test_record_that_cannot_be_read_keeps_all_versions_until_its_output_is_freed(
    output: Path,
) -> None:
    record = output / "records" / f"{shard_of(output)}.json"
    record.write_text("{")
    report = clean_versions("outputs")
    # It was old enough to be freed itself, and is in nobody's way any more.
    assert names(report) == {str(output), P1, F1}
    score(output)
    record.write_text("{")
    report = clean_versions()
    assert names(report) == set()
    assert report["notes"] == [f"{record} cannot be read, so all versions stay"]


@pytest.mark.parametrize("part", ["records", "predictions"])
def test_output_that_cannot_be_read_keeps_all_versions(output: Path, part: str) -> None:
    if part == "records":
        shutil.rmtree(output / part)
        (output / part).write_text("no folder")
    else:
        (path,) = (output / part).iterdir()
        path.write_text("no Parquet")
    report = clean_versions()
    assert report["versions"]["items"] == 0
    assert str(output / part) in report["notes"][0]


def test_alias_given_meanwhile_keeps_a_version(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(*arguments: Any, **named: Any) -> dict[Version, str]:
        reasons = reasons_to_keep(*arguments, **named)
        connect().set_registered_model_alias(PIPELINE, "mine", "1")
        connect().set_registered_model_alias(FINETUNED, "mine", "1")
        return reasons

    monkeypatch.setattr(stale_versions, "reasons_to_keep", decide)
    assert names(clean_versions()) == set()
    assert mlflow.pyfunc.load_model(f"models:/{PIPELINE}@mine")


def half_removed(repository: LocalArtifactRepository, *_: object) -> None:
    (Path(repository.artifact_dir) / "MLmodel").unlink()
    raise Killed


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (stale_versions, "_unregister", killed),
        (stale_versions, "drop_answers_of", killed),
        (LocalArtifactRepository, "delete_artifacts", half_removed),
        (mlflow.MlflowClient, "delete_logged_model", killed),
    ],
)
def test_interrupted_freeing_of_versions_is_finished_by_the_next_run(
    asked_state: Path, owner: object, name: str, fault: Callable[..., None]
) -> None:
    artifacts = asked_state / "mlartifacts"
    before = bytes_in(artifacts)
    limits = Limits(apply=True, keep_versions=0, older_than_days=0)
    with faulty(owner, name, fault), pytest.raises(Killed):
        stale_versions.clean_versions(limits, CleanupResult(kind="outputs"))
    begun = dict(logged_models.find_marked_models(["build-inference-pipeline", "train-classifier"]))
    assert begun
    assert not any(logged_models.is_usable(uri) for uri in begun)
    told = clean_versions(apply=False)
    assert names(told) == {P1, F1}
    done = clean_versions()
    assert names(done) == {P1, F1}
    assert bytes_in(artifacts) < before - 200_000
    assert len(list(artifacts.glob("*/models/*"))) == 4
    assert drop_answers_of(get_settings().prediction_cache, {F1, *begun}) == 0
    assert versions_left() == {P2, P3, F2, F3}
    assert names(clean_versions()) == set()


def test_version_that_was_to_be_freed_and_is_wanted_again_is_whole(state: Path) -> None:
    source = str(connect().get_model_version(FINETUNED, "1").source)
    logged_models.mark_for_deletion(source, F1)
    connect().set_registered_model_alias(FINETUNED, "mine", "1")
    assert not logged_models.is_usable(source)
    assert names(clean_versions()) == {P1}
    assert logged_models.is_usable(source)


# Outputs


def test_old_output_is_freed_whole_and_a_young_one_stays(state: Path) -> None:
    old = score(state / "scored" / "team" / "old", review_below=1.0, output_format="csv")
    assert len(list(make_old(old).rglob("*.csv"))) == 3
    young = score(state / "scored" / "young")
    before = content(state)
    assert names(clean_outputs(apply=False)) == {str(old)}
    assert content(state) == before
    size = bytes_in(state / "scored")
    report = clean_outputs()
    assert report["outputs"] == {"items": 1, "bytes": size - bytes_in(state / "scored")}
    assert report["kept"] == {"outputs": {"too young": 1}}
    assert not old.exists()
    assert (old.parent / "old-rows.csv").is_file()
    assert shard_of(young)
    assert score(old)  # it can be made again


def test_what_millstream_did_not_write_stays(state: Path, tmp_path: Path) -> None:
    output = score(tmp_path / "output", review_below=1.0)
    (labelled,) = (output / "review").iterdir()
    precious = tmp_path / "precious"
    shutil.move(output / "predictions", precious)
    (output / "predictions").symlink_to(precious)
    theirs = [
        labelled,
        output / "notes.txt",
        output / "records" / "mine.json",
        output / "rejected" / "a.csv",
    ]
    for path in theirs:
        path.write_text("mine")
    (output / "link.json").symlink_to(precious)
    make_old(output)
    assert names(clean_outputs()) == set()  # not under scored/, and not named
    assert names(clean_outputs(output_dirs=(output,))) == {str(output)}
    assert all(path.read_text() == "mine" for path in theirs)
    assert len(list(precious.iterdir())) == 1
    assert sorted(path.name for path in output.iterdir()) == [
        ".lock",
        "link.json",
        "notes.txt",
        "predictions",
        "records",
        "rejected",
        "review",
    ]
    assert names(clean_outputs(output_dirs=(output,))) == set()


def test_link_under_scored_is_not_followed_but_what_it_leads_to_holds_versions(
    state: Path, tmp_path: Path
) -> None:
    output = make_old(score(tmp_path / "output", model_uri=P1))
    for run in connect().search_runs([ensure_experiment("score-shards")]):
        connect().set_tag(run.info.run_id, "output_dir", "/nowhere")
    (state / "scored").mkdir()
    (state / "scored" / "link").symlink_to(output)
    for name in ("back", "and-back"):
        (state / "scored" / name).symlink_to(state / "scored")
    report = clean_versions("outputs")
    assert names(report) == set()
    assert shard_of(output)
    (state / "scored" / "link").unlink()
    assert names(clean_versions()) == {P1, F1}


def test_output_in_use_is_left_alone_and_keeps_all_versions(output: Path) -> None:
    make_old(output)
    with locked_folder(output, "of another"):
        told = clean_versions("outputs", apply=False)
        done = clean_versions("outputs")
    assert names(told) == names(done) == set()
    assert done["kept"]["outputs"] == {"in use": 1}
    assert done["notes"] == [f"{output} is in use, so all versions stay"]
    assert shard_of(output)


def test_interrupted_freeing_of_an_output_is_finished_by_the_next_run(output: Path) -> None:
    whole = make_old(output)
    steps = len(list(stale_outputs.list_own_files(whole)))
    assert steps == 4
    for step in range(steps):
        output = make_old(Path(shutil.copytree(whole, whole.with_name(f"copy-{step}"))))
        done = iter(range(step))

        def unlink(path: Path, done: Iterator[int] = done, **_: object) -> None:
            if path.name.startswith("..lock.json"):  # the draft of the note, gone by now
                return
            if next(done, None) is None:
                raise Killed
            os.unlink(path)  # noqa: PTH108

        limits = Limits(apply=True)
        with faulty(Path, "unlink", unlink), pytest.raises(Killed):
            stale_outputs._free_folder(output, limits)
        rest = {path.parent.name for path in stale_outputs.list_own_files(output)}
        assert rest  # recognised, and its records went first
        assert ("records" in rest) == (step == 0)
    assert clean_outputs()["outputs"]["items"] == steps + 1
    assert list(whole.parent.glob("copy-*")) == []


def test_output_of_a_file_with_a_line_in_its_name_is_freed_whole(state: Path) -> None:
    rows = state / "a\nb.csv"
    rows.write_text("text\na great film\n")
    output = state / "scored" / "output"
    score_shards([str(rows)], str(output))
    make_old(output)
    assert names(clean_outputs()) == {str(output)}
    assert not output.exists()


def test_failed_run_without_a_manifest_is_an_output_too(output: Path) -> None:
    (output / "manifest.json").unlink()
    shutil.rmtree(output / "records")
    make_old(output)
    assert names(clean_outputs()) == {str(output)}
    assert not output.exists()


def test_output_dirs_that_are_gone_are_told_and_empty_ones_refused(state: Path) -> None:
    assert clean_outputs(output_dirs=(Path("/nowhere"),))["notes"] == ["/nowhere is no folder"]
    with pytest.raises(ParameterError, match="output_dirs: an empty one"):
        clean_up(output_dirs=[" "])
    with pytest.raises(ParameterError, match="kinds: none given"):
        clean_up(kinds=[])


# Checkpoints


def test_old_checkpoints_that_nobody_holds_are_freed(state: Path) -> None:
    finished = str(connect().get_model_version(FINETUNED, "1").run_id)
    started = connect().create_run("0").info.run_id
    reasons = {
        make_checkpoints(state, "finished", finished): "their training finished",
        make_checkpoints(state, "started", started): "their training was not continued",
        make_checkpoints(state, "gone", "0" * 32): "their run is gone from MLflow",
        make_checkpoints(state, "noise", "no id"): "their run is gone from MLflow",
        make_checkpoints(state, "bare"): "no run goes with them",
    }
    held = make_checkpoints(state, "held")
    young = make_checkpoints(state, "young")
    (young / "checkpoint-5" / "trainer_state.json").touch()
    linked = state / "checkpoints" / "linked"
    linked.symlink_to(state / "mlartifacts")
    before = content(state)
    with FileLock(held.with_suffix(".lock")):
        told = clean("checkpoints", apply=False)
        assert content(state) == before
        done = clean("checkpoints")
    for report in (told, done):
        assert {item["name"]: item["why"] for item in report["leftovers"]} == {
            str(folder): why for folder, why in reasons.items()
        }
        assert report["kept"] == {"checkpoints": {"in use": 1, "too young": 1}}
    assert not any(folder.exists() for folder in reasons)
    assert held.is_dir()
    assert young.is_dir()
    assert list((state / "mlartifacts").iterdir())
