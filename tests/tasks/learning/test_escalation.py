"""All weights of a version are trained on, from its own weights, with the feedback."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.common.errors import ModelError
from tasks.dataset.types import Split
from tasks.learning.prefect_tasks import finetune_from_parent, relearn_head
from tasks.tracking.mlflow_client import connect, read_logged_json
from tasks.tracking.names import RegisteredModel
from tasks.training.logged_rows import SPLIT_FILE, load_test_rows, load_used_digests
from tasks.training.prefect_tasks import register_model
from tests.support.builders import Trained, finetuned_of, train_unevaluated
from tests.support.learning import CORRECTED, accuracy, write_feedback


def test_a_transformer_goes_on_from_its_weights(trained_anew: Trained, tmp_path: Path) -> None:
    parent, feedback = finetuned_of(trained_anew), write_feedback(tmp_path)
    learnt = finetune_from_parent.fn(parent, feedback)
    run = connect().get_run(learnt.run_id)
    before = connect().get_run(trained_anew.training["finetuned_run_id"])
    assert run.data.params == before.data.params
    assert run.data.tags["learning"] == "all weights"
    assert run.data.tags["parent"] == parent.uri
    assert run.data.tags["feedback_rows"] == "60"
    assert accuracy(learnt.model_uri, CORRECTED) > 0.9 > accuracy(parent.uri, CORRECTED)
    # The first steps are no worse than the last ones of the parent, as from its weights.
    losses = [
        [point.value for point in connect().get_metric_history(found.info.run_id, "train_loss")]
        for found in (before, run)
    ]
    assert losses[1][0] < losses[0][0]
    assert load_test_rows(learnt.run_id).equals(load_test_rows(before.info.run_id))
    earlier, now = (load_used_digests([found.info.run_id]) for found in (before, run))
    assert len((now or frozenset()) - (earlier or frozenset())) == 60
    assert finetune_from_parent.fn(parent, feedback) == learnt.model_copy(update={"reused": True})
    # Its own rows are those that it is learnt from again.
    child = register_model.fn(learnt)
    again = relearn_head.fn(child, feedback)
    tags = connect().get_run(again.run_id).data.tags
    assert tags["original_run"] == learnt.run_id


def test_a_static_model_is_fitted_anew(
    new_database: None, prefect_harness: None, labelled_csv: Path, tmp_path: Path
) -> None:
    report = train_unevaluated("static", labelled_csv)
    parent = RegisteredModel.from_uri(report["finetuned_model"])
    learnt = finetune_from_parent.fn(parent, write_feedback(tmp_path))
    assert accuracy(learnt.model_uri, CORRECTED) > 0.9 > accuracy(parent.uri, CORRECTED)
    record = Split.model_validate(read_logged_json(learnt.run_id, SPLIT_FILE))
    original = Split.read(Path(report["split_folder"]))
    assert record.rows == original.rows | {"train": original.rows["train"] + 60}
    assert record.distributions["rows"] == 360
    assert len(pd.read_parquet(record.part("train"))) == record.rows["train"]
    original.part("train").unlink()
    message = (
        r"^models:/dl_finetuned_model/1: the rows .* are gone from this machine .*train again$"
    )
    with pytest.raises(ModelError, match=message):
        finetune_from_parent.fn(parent, write_feedback(tmp_path, digest="e" * 64))
