"""What a clean-up frees, what it keeps, and what becomes of one that is interrupted."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from flows.clean_up import clean_up
from flows.explain_prediction import explain_prediction
from flows.promote_pipeline import promote_pipeline
from flows.score_shards import score_shards
from pyfunc.cache_contents import drop_answers_of
from tasks import logged_models, old_outputs, old_versions, packaging, registry, unused_files
from tasks.cleaning import summarise
from tasks.errors import ModelError, ParameterError
from tasks.leftovers import Cleaned, Kind, Limits, is_held
from tasks.output_folder import sole_user
from tasks.pipelines import REGISTERED_NAME as PIPELINE
from tasks.pipelines import PipelineParameters
from tasks.settings import get_settings
from tasks.superseded import Version, reasons_to_keep
from tasks.tracking import connect, experiment_id
from tasks.training import REGISTERED_NAME as FINETUNED
from tasks.training import RegisteredModel
from tasks.training_runs import find_run
from tests.builders import train_tiny

P1, P2, P3 = (f"models:/{PIPELINE}/{number}" for number in (1, 2, 3))
F1, F2, F3 = (f"models:/{FINETUNED}/{number}" for number in (1, 2, 3))
STEPS = ["download_data", "split_data", "fine_tuning_model", "register_model"]
QUICK: dict[str, Any] = {"steps": STEPS, "epochs": 1, "sample_size": 64}


@pytest.fixture(scope="module")
def built(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    labelled_csv: Path,
) -> Path:
    """A state folder with three versions of both models: the last is champion, after the second."""
    home = tmp_path_factory.mktemp("built") / "var"
    with pytest.MonkeyPatch.context() as patch:
        use_home(home, patch)
        for seed in (1, 2, 3):
            report = train_tiny(tiny_base, labelled_csv, seed=seed, **QUICK)
            build(report["finetuned_model"])
            promote_pipeline(str(seed))
    get_settings.cache_clear()
    return home


@pytest.fixture
def state(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it."""
    home = tmp_path / "var"
    shutil.copytree(built, home)
    columns = {
        "experiments": "artifact_location",
        "runs": "artifact_uri",
        "logged_models": "artifact_location",
        "model_versions": "storage_location",
    }
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as database:
        for table, column in columns.items():
            database.execute(
                f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)",
                (str(built), str(home)),
            )
    use_home(home, monkeypatch)
    yield home
    get_settings.cache_clear()


def use_home(home: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("MILLSTREAM_HOME", str(home))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    get_settings.cache_clear()


def build(finetuned: str, max_tokens: int = 0) -> RegisteredModel:
    """Log and register a pipeline without its check, which takes a process of its own."""
    number = int(finetuned.rpartition("/")[2])
    parameters = PipelineParameters(engine="torch", precision="f32", max_tokens=max_tokens)
    logged = packaging.log(RegisteredModel(name=FINETUNED, version=number), parameters)
    tags = packaging.version_tags(logged)
    return registry.register(PIPELINE, logged.model_uri, run_id=logged.run_id, tags=tags)


def score(output: Path, text: str = "a great film", **parameters: Any) -> Path:
    rows = output.parent / f"{output.name}-rows.csv"
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text(f"text\n{text}\n")
    score_shards([str(rows)], str(output), **parameters)
    return output


def shard_of(output: Path) -> str:
    (record,) = (output / "records").iterdir()
    return record.stem


def make_old(folder: Path, days: float = 100) -> Path:
    then = time.time() - days * 86_400
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)
    return folder


def bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file but MLflow's, Prefect's and the locks."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("mlflow.") and "prefect" not in path.parts
    }


def names(report: dict[str, Any]) -> set[str]:
    return {leftover["name"] for leftover in report["leftovers"]}


def versions_left() -> set[str]:
    return {f"models:/{v.name}/{v.version}" for v in connect().search_model_versions()}


def clean(*kinds: Kind, apply: bool = True, **limits: Any) -> dict[str, Any]:
    """Do what the flow does, without its second of overhead."""
    chosen = Limits(apply=apply, **limits)
    outputs = Cleaned(kind="outputs")
    found = []
    if "outputs" in kinds:
        outputs = old_outputs.clean_outputs(chosen)
        found.append(outputs)
    if "versions" in kinds:
        found.append(old_versions.clean_versions(chosen, outputs))
    if "checkpoints" in kinds:
        found.append(unused_files.clean_checkpoints(chosen))
    if "downloads" in kinds:
        found.append(unused_files.clean_downloads(chosen))
    return summarise(found, applied=apply)


def clean_versions(*kinds: Kind, apply: bool = True, **limits: Any) -> dict[str, Any]:
    strict = {"keep_versions": 0, "older_than_days": 0}
    return clean(*kinds, "versions", apply=apply, **strict | limits)


def cached(model_uri: str) -> int:
    """Return how many answers in the prediction cache name a version."""
    name, number = model_uri.removeprefix("models:/").split("/")
    source = connect().get_model_version(name, number).source
    with closing(sqlite3.connect(get_settings().prediction_cache / "cache.db")) as database:
        query = "SELECT COUNT(*) FROM Cache WHERE instr(value, ?)"
        return int(database.execute(query, (f'"{source}"',)).fetchone()[0])


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
    assert artifacts - bytes_in(state / "mlartifacts") == done["versions"]["bytes"] > 1_000_000
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


def test_version_that_computed_a_cached_answer_stays_though_another_was_asked(
    state: Path, tmp_path: Path
) -> None:
    alike = build(F1, max_tokens=32)  # what it was trained with
    score(tmp_path / "first", model_uri=P1)
    shutil.rmtree(tmp_path / "first")
    output = score(tmp_path / "second", model_uri=alike.uri)
    assert clean_versions()["versions"]["items"] == 0
    chain = explain_prediction(str(output), shard_of(output), 1, verify=True)
    assert (chain["asked_version"], chain["computed_by_version"]) == (alike.uri, P1)


def test_answers_of_a_version_leave_the_cache_with_it(state: Path, tmp_path: Path) -> None:
    score(tmp_path / "first", model_uri=P1)
    score(tmp_path / "second", model_uri=P3)
    shutil.rmtree(tmp_path / "first")
    before = cached(P3)
    assert cached(P1) > 0
    source = connect().get_model_version(PIPELINE, "1").source
    report = clean_versions()
    assert names(report) == {P1, F1}
    assert report["notes"] == ["1 output folders of earlier runs are gone"]
    assert cached(P3) == before
    assert drop_answers_of(get_settings().prediction_cache, {str(source), F1}) == 0
    assert score_shards([str(tmp_path / "second-rows.csv")], str(tmp_path / "3"))["cache_hits"] == 1


def test_only_answers_that_name_the_model_leave_the_cache(state: Path, tmp_path: Path) -> None:
    score(tmp_path / "first", model_uri=P1)
    cache = get_settings().prediction_cache
    count = cached(P1)
    assert drop_answers_of(cache, {"models:/dl_finetuned_model/11", P1}) == 0
    assert drop_answers_of(cache, {"models:/dl_finetuned_model/11", F1}) == count > 0
    assert drop_answers_of(tmp_path / "none", {F1}) == 0


def test_training_and_build_are_done_anew_when_their_versions_were_freed(
    state: Path, tiny_base: Path, labelled_csv: Path, tmp_path: Path
) -> None:
    run = connect().get_model_version(FINETUNED, "1").run_id
    score(tmp_path / "before", model_uri=P1)
    shutil.rmtree(tmp_path / "before")
    clean_versions()
    assert "validation_loss" in connect().get_run(str(run)).data.metrics
    with pytest.raises(ModelError, match=f"the model of run {run} was freed"):
        find_run(str(run))
    report = train_tiny(tiny_base, labelled_csv, seed=1, **QUICK)
    assert not report["reused"]
    assert report["finetuned_model"] == f"models:/{FINETUNED}/4"
    assert train_tiny(tiny_base, labelled_csv, seed=1, **QUICK)["reused"]
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
    state: Path,
) -> None:
    output = score(state / "scored" / "output")
    record = output / "records" / f"{shard_of(output)}.json"
    record.write_text("{")
    report = clean_versions("outputs")
    # It was old enough to be freed itself, and is in nobody's way any more.
    assert names(report) == {str(output), P1, F1}
    output = score(state / "scored" / "output")
    record.write_text("{")
    report = clean_versions()
    assert names(report) == set()
    assert report["notes"] == [f"{record} cannot be read, so all versions stay"]


@pytest.mark.parametrize("part", ["records", "predictions"])
def test_output_that_cannot_be_read_keeps_all_versions(state: Path, part: str) -> None:
    output = score(state / "scored" / "output")
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

    monkeypatch.setattr(old_versions, "reasons_to_keep", decide)
    assert names(clean_versions()) == set()
    assert mlflow.pyfunc.load_model(f"models:/{PIPELINE}@mine")


class Killed(BaseException):
    """In place of a signal."""


@contextmanager
def faulty(owner: object, name: str, fault: Callable[..., None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fault)
        yield


def killed(*_: object, **__: object) -> None:
    raise Killed


def half_removed(repository: LocalArtifactRepository, *_: object) -> None:
    (Path(repository.artifact_dir) / "MLmodel").unlink()
    raise Killed


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (old_versions, "_unregister", killed),
        (old_versions, "drop_answers_of", killed),
        (LocalArtifactRepository, "delete_artifacts", half_removed),
        (mlflow.MlflowClient, "delete_logged_model", killed),
    ],
)
def test_interrupted_freeing_of_versions_is_finished_by_the_next_run(
    state: Path, tmp_path: Path, owner: object, name: str, fault: Callable[..., None]
) -> None:
    score(tmp_path / "first", model_uri=P1)
    shutil.rmtree(tmp_path / "first")
    artifacts = bytes_in(state / "mlartifacts")
    limits = Limits(apply=True, keep_versions=0, older_than_days=0)
    with faulty(owner, name, fault), pytest.raises(Killed):
        old_versions.clean_versions(limits, Cleaned(kind="outputs"))
    begun = dict(logged_models.marked(["build-inference-pipeline", "train-classifier"]))
    assert begun
    assert not any(logged_models.is_there(uri) for uri in begun)
    told = clean_versions(apply=False)
    assert names(told) == {P1, F1}
    done = clean_versions()
    assert names(done) == {P1, F1}
    assert bytes_in(state / "mlartifacts") < artifacts - 1_000_000
    assert len(list((state / "mlartifacts").glob("*/models/*"))) == 4
    assert drop_answers_of(get_settings().prediction_cache, {F1, *begun}) == 0
    assert versions_left() == {P2, P3, F2, F3}
    assert names(clean_versions()) == set()


def test_version_that_was_to_be_freed_and_is_wanted_again_is_whole(state: Path) -> None:
    source = str(connect().get_model_version(FINETUNED, "1").source)
    logged_models.mark(source, F1)
    connect().set_registered_model_alias(FINETUNED, "mine", "1")
    assert not logged_models.is_there(source)
    assert names(clean_versions()) == {P1}
    assert logged_models.is_there(source)


URIS = [f"models:/{name}/{number}" for name in ("p", "f") for number in range(1, 7)]


@st.composite
def registries(draw: st.DrawFn) -> tuple[list[Version], list[Version]]:
    def versions(name: str) -> list[Version]:
        return [
            Version(
                name=name,
                number=number,
                source=f"models:/m-{name}{number}",
                days=draw(st.sampled_from([0, 29, 31, 400])),
                has_alias=draw(st.integers(0, 5)) == 5,
                was_champion=draw(st.integers(0, 5)) == 5,
                finetuned_uri=draw(st.sampled_from(URIS[6:])) if name == "p" else "",
            )
            for number in draw(st.sets(st.integers(1, 6)))
        ]

    return versions("p"), versions("f")


@settings(deadline=None, max_examples=300)
@given(
    registries(),
    st.sets(st.sampled_from([*URIS, "models:/m-p1", "models:/m-f2"])),
    st.sampled_from(["", "", "", "a doubt"]),
    st.integers(0, 3),
    st.sampled_from([0, 30]),
)
def test_nothing_that_is_referred_to_is_ever_freed(
    versions: tuple[list[Version], list[Version]],
    referred: set[str],
    doubt: str,
    keep: int,
    days: int,
) -> None:
    pipelines, finetuned = versions
    reasons = reasons_to_keep(
        pipelines,
        finetuned,
        referred=referred,
        doubt=doubt,
        limits=Limits(keep_versions=keep, older_than_days=days),
    )
    assert set(reasons) == {*pipelines, *finetuned}
    freed = [version for version, reason in reasons.items() if not reason]
    inside = {p.finetuned_uri for p in pipelines if p not in freed}
    for version in freed:
        assert not version.has_alias
        assert not version.was_champion
        assert not {version.uri, version.source} & {*referred, *inside}
        assert version.days >= days
        assert not doubt
        newer = [v for v in reasons if v.name == version.name and v.number > version.number]
        assert len(newer) >= keep
    # And what nothing holds is freed.
    for version in reasons.keys() - set(freed):
        same = [v.number for v in reasons if v.name == version.name]
        held = (
            version.has_alias
            or version.was_champion
            or {version.uri, version.source} & {*referred, *inside}
            or version.days < days
            or doubt
            or version.number in sorted(same)[-keep:] * bool(keep)
        )
        assert held


# Outputs


def clean_outputs(*, apply: bool = True, **limits: Any) -> dict[str, Any]:
    return clean("outputs", apply=apply, **limits)


def test_old_output_is_freed_whole_and_a_young_one_stays(state: Path) -> None:
    old = make_old(score(state / "scored" / "team" / "old"))
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
    output = make_old(score(tmp_path / "output"))
    precious = tmp_path / "precious"
    shutil.move(output / "predictions", precious)
    (output / "predictions").symlink_to(precious)
    theirs = [output / "notes.txt", output / "records" / "mine.json", output / "rejected" / "a.csv"]
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
    ]
    assert names(clean_outputs(output_dirs=(output,))) == set()


def test_link_under_scored_is_not_followed_but_what_it_leads_to_holds_versions(
    state: Path, tmp_path: Path
) -> None:
    output = make_old(score(tmp_path / "output", model_uri=P1))
    for run in connect().search_runs([experiment_id("score-shards")]):
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


def test_output_in_use_is_left_alone_and_keeps_all_versions(state: Path) -> None:
    output = make_old(score(state / "scored" / "output"))
    with sole_user(output, "of another"):
        told = clean_versions("outputs", apply=False)
        done = clean_versions("outputs")
    assert names(told) == names(done) == set()
    assert done["kept"]["outputs"] == {"in use": 1}
    assert done["notes"] == [f"{output} is in use, so all versions stay"]
    assert shard_of(output)


def test_interrupted_freeing_of_an_output_is_finished_by_the_next_run(state: Path) -> None:
    whole = make_old(score(state / "scored" / "whole"))
    steps = len(list(old_outputs.own_files(whole)))
    assert steps == 4
    for step in range(steps):
        output = make_old(Path(shutil.copytree(whole, state / "scored" / f"output-{step}")))
        done = iter(range(step))

        def unlink(path: Path, done: Iterator[int] = done, **_: object) -> None:
            if next(done, None) is None:
                raise Killed
            os.unlink(path)  # noqa: PTH108

        limits = Limits(apply=True)
        with faulty(Path, "unlink", unlink), pytest.raises(Killed):
            old_outputs._free(output, limits)
        rest = {path.parent.name for path in old_outputs.own_files(output)}
        assert rest  # recognised, and its records went first
        assert ("records" in rest) == (step == 0)
    assert clean_outputs()["outputs"]["items"] == steps + 1
    assert list((state / "scored").glob("output-*")) == []


def test_output_of_a_file_with_a_line_in_its_name_is_freed_whole(state: Path) -> None:
    rows = state / "a\nb.csv"
    rows.write_text("text\na great film\n")
    output = state / "scored" / "output"
    score_shards([str(rows)], str(output))
    make_old(output)
    assert names(clean_outputs()) == {str(output)}
    assert not output.exists()


def test_failed_run_without_a_manifest_is_an_output_too(state: Path) -> None:
    output = score(state / "scored" / "output")
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


# Checkpoints and downloads


def make_checkpoints(home: Path, key: str, run_id: str = "") -> Path:
    folder = home / "checkpoints" / key
    (folder / "checkpoint-5").mkdir(parents=True)
    (folder / "checkpoint-5" / "model.safetensors").write_bytes(b"0" * 5_000)
    if run_id:
        (folder / "mlflow-run-id").write_text(run_id)
    folder.with_suffix(".lock").touch()
    return make_old(folder)


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


def test_interrupted_freeing_of_checkpoints_leaves_no_half_and_is_finished(home: Path) -> None:
    folder = make_checkpoints(home, "abc")

    def half(path: Path) -> None:
        (path / "checkpoint-5" / "model.safetensors").unlink()
        raise Killed

    with faulty(shutil, "rmtree", half), pytest.raises(Killed):
        unused_files.clean_checkpoints(Limits(apply=True))
    assert not folder.exists()
    (home / "checkpoints" / ".abc.freed").touch()  # its age says nothing
    make_checkpoints(home, "abc")  # trained again meanwhile
    assert clean("checkpoints")["checkpoints"]["items"] == 2
    assert [path.name for path in (home / "checkpoints").iterdir()] == ["abc.lock"]


def test_broken_downloads_are_freed_and_whole_ones_stay(home: Path) -> None:
    data = home / "data"
    gone = [
        "downloads/0123456789abcdef/a.zip.part",
        "downloads/scoring/0123456789abcdef-4194305/a.csv",  # above the largest process number
        "unpacked/.0123.unpacking/a.csv",
        "splits/.0123.4194305.draft/train.parquet",
        ".imdb.csv.4194305.draft",
    ]
    stay = [
        "downloads/0123456789abcdef/b.zip",
        "downloads/fedcba9876543210/c.zip.part",  # held
        f"downloads/scoring/0123456789abcdef-{os.getpid()}/a.csv",
        f"splits/.0123.{os.getpid()}.draft/train.parquet",
        "unpacked/0123/a.csv",
        "splits/0123/split.json",
        "imdb.csv",
    ]
    for name in [*gone, *stay, "downloads/0123456789abcdef/a.zip.part.json"]:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("content")
    lock = data / "downloads/fedcba9876543210/c.zip.lock"
    with FileLock(lock):
        assert clean("downloads")["downloads"]["items"] == 0
        make_old(data)
        before = content(home)
        told = clean("downloads", apply=False)
        assert content(home) == before
        done = clean("downloads")
    assert names(told) == names(done)
    assert done["downloads"] == {"items": 5, "bytes": 6 * len("content")}
    left = {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()}
    assert {name for name in left if not name.endswith(".lock")} == set(stay)


def test_asking_whether_a_lock_is_held_changes_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    assert not is_held(lock)
    assert not lock.exists()
    with FileLock(lock):
        assert is_held(lock)
    assert not is_held(lock)


@pytest.mark.usefixtures("prefect_harness")
def test_nothing_at_all_is_nothing_to_free(home: Path) -> None:
    report = clean_up(apply=True, keep_versions=0, older_than_days=0)
    assert report["leftovers"] == []
    assert all(report[kind]["items"] == 0 for kind in ("outputs", "versions", "checkpoints"))
