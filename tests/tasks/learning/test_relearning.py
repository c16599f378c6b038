"""A head that learnt again is a training like any: found, registered, evaluated, wrapped."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.dataset.splitting import digest_text
from tasks.learning.prefect_tasks import relearn_head
from tasks.learning.types import Feedback
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import RegisteredModel
from tasks.training.finetuned_model import downloaded_classifier
from tasks.training.logged_rows import load_test_rows, load_used_digests
from tasks.training.prefect_tasks import evaluate_model, register_model
from tasks.training.types import FineTuned
from tests.support.builders import Trained, build_unverified, finetuned_of, train_unevaluated
from tests.support.learning import CORRECTED, accuracy, answers, write_feedback


def relearn(parent: RegisteredModel, feedback: Feedback) -> FineTuned:
    return relearn_head.fn(parent, feedback)


def test_it_is_a_training_like_any(trained_anew: Trained, tmp_path: Path) -> None:
    parent, feedback = finetuned_of(trained_anew), write_feedback(tmp_path)
    learnt = relearn(parent, feedback)
    client = connect()
    run, before = (
        client.get_run(learnt.run_id),
        client.get_run(trained_anew.training["finetuned_run_id"]),
    )
    assert run.data.params == before.data.params
    expected = {
        "learning": "head",
        "parent": parent.uri,
        "original_run": before.info.run_id,
        "feedback_digest": feedback.digest,
        "feedback_rows": "60",
        "series": before.data.tags["series"],
        "data_digest": before.data.tags["data_digest"],
    }
    assert expected.items() <= run.data.tags.items()
    assert {"temperature", "penalty", "train_seconds", "validation_accuracy_before"} <= (
        run.data.metrics.keys()
    )
    assert run.data.metrics["learnt_feedback_rows"] == 60
    validated = pd.read_parquet(Path(trained_anew.training["split_folder"]) / "validation.parquet")
    assert run.data.metrics["features_computed"] == run.data.metrics["learnt_rows"] + len(validated)
    assert accuracy(learnt.model_uri, CORRECTED) > accuracy(
        before.data.tags["model_uri"], CORRECTED
    )
    registered = register_model.fn(learnt)
    assert registered.version == parent.version + 1
    assert evaluate_model.fn(learnt).metrics["test_accuracy"] > 0.9
    described = client.get_model_version(registered.name, str(registered.version)).description
    assert f"| feedback | 60 rows, learnt by {parent.uri} |" in str(described)
    # What gates and comparisons may use.
    texts = [text for text, _ in CORRECTED]
    used = (load_used_digests([run_id]) for run_id in (learnt.run_id, before.info.run_id))
    now, earlier = (found or frozenset() for found in used)
    assert now - earlier == {digest_text(text) for text in texts}
    assert earlier < now
    assert load_test_rows(learnt.run_id).equals(load_test_rows(before.info.run_id))
    built = build_unverified(registered.uri)
    assert not built["reused"]


def test_without_the_split_it_learns_from_what_was_kept(
    new_database: None,
    prefect_harness: None,
    tiny_base: Path,
    labelled_csv: Path,
    tmp_path: Path,
) -> None:
    report = train_unevaluated(tiny_base, labelled_csv, epochs=1)
    parent = RegisteredModel.from_uri(report["finetuned_model"])
    before = relearn(parent, write_feedback(tmp_path))
    for path in Path(report["split_folder"]).glob("*.parquet"):
        path.unlink()
    after = relearn(parent, write_feedback(tmp_path, digest="d" * 64))
    assert (answers(after.model_uri, ["a film"]) == answers(before.model_uri, ["a film"])).all()
    (features,) = (
        path for path in get_settings().replay.glob("*/*.parquet") if path.parent.name != "labels"
    )
    features.write_bytes(b"")
    message = r"^models:/dl_finetuned_model/1: .* lacks the features of .* rows, .*: train again$"
    with pytest.raises(ModelError, match=message):
        relearn(parent, write_feedback(tmp_path, digest="e" * 64))


def test_equal_feedback_is_learnt_once(trained_anew: Trained, tmp_path: Path) -> None:
    parent, feedback = finetuned_of(trained_anew), write_feedback(tmp_path)
    first, again = relearn(parent, feedback), relearn(parent, feedback)
    assert again == first.model_copy(update={"reused": True})
    assert list(get_settings().checkpoints.glob("*/")) == []
    assert register_model.fn(first).version == register_model.fn(again).version


def test_a_version_that_learnt_learns_on_with_the_features_that_are_kept(
    trained_anew: Trained, tmp_path: Path
) -> None:
    first = relearn(finetuned_of(trained_anew), write_feedback(tmp_path))
    more = [*CORRECTED, ("an entirely new film", "positive")]
    child = register_model.fn(first)
    second = relearn(child, write_feedback(tmp_path, more, digest="e" * 64))
    run = connect().get_run(second.run_id)
    assert run.data.metrics["features_computed"] == 1
    assert run.data.tags["parent"] == child.uri
    assert run.data.tags["original_run"] == trained_anew.training["finetuned_run_id"]
    used = load_used_digests([second.run_id]) or frozenset()
    assert {digest_text(text) for text, _ in more} <= used


def test_the_order_of_feedback_changes_no_bit(trained_anew: Trained, tmp_path: Path) -> None:
    parent = finetuned_of(trained_anew)
    shuffled = pd.DataFrame(CORRECTED).sample(frac=1, random_state=1)
    orders = [CORRECTED, CORRECTED[::-1], list(shuffled.itertuples(index=False, name=None))]
    weights = []
    for number, rows in enumerate(orders):
        learnt = relearn(parent, write_feedback(tmp_path, rows, digest=str(number) * 64))
        with downloaded_classifier(learnt.model_uri) as folder:
            weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]


def test_a_learning_that_was_killed_goes_on_in_its_run(
    trained_anew: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.learning import relearning

    parent, feedback = finetuned_of(trained_anew), write_feedback(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(relearning, "refit", killed)
        with pytest.raises(KeyboardInterrupt):
            relearn(parent, feedback)
    learnt = relearn(parent, feedback)
    experiment = connect().get_experiment_by_name("train-classifier")
    assert experiment is not None
    runs = connect().search_runs([experiment.experiment_id])
    assert len(runs) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert learnt.run_id in {run.info.run_id for run in runs}


@pytest.fixture
def static_parent(
    new_database: None, prefect_harness: None, labelled_csv: Path
) -> tuple[RegisteredModel, Path]:
    report = train_unevaluated("static", labelled_csv)
    return RegisteredModel.from_uri(report["finetuned_model"]), Path(report["split_folder"])


def test_a_static_model_learns_its_table(
    static_parent: tuple[RegisteredModel, Path], tmp_path: Path
) -> None:
    parent, split = static_parent
    learnt = relearn(parent, write_feedback(tmp_path))
    assert accuracy(parent.uri, CORRECTED) < 0.8 < accuracy(learnt.model_uri, CORRECTED)
    known = load_test_rows(learnt.run_id)
    rows = list(known[["text", "label"]].itertuples(index=False, name=None))
    assert accuracy(learnt.model_uri, rows) == 1
    again = relearn(parent, write_feedback(tmp_path, CORRECTED[::-1], digest="e" * 64))
    assert (answers(again.model_uri, ["a film"]) == answers(learnt.model_uri, ["a film"])).all()
    assert not get_settings().replay.exists()
    registered = register_model.fn(learnt)
    assert not build_unverified(registered.uri)["reused"]
    (split / "train.parquet").unlink()
    message = (
        r"^models:/dl_finetuned_model/2: the rows .* are gone from this machine .*train again$"
    )
    with pytest.raises(ModelError, match=message):
        relearn(registered, write_feedback(tmp_path, digest="d" * 64))
