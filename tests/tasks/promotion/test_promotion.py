"""Who becomes champion, by rule and by hand."""

from pathlib import Path

import pandas as pd
import pytest

from flows.build_inference_pipeline import build_inference_pipeline
from flows.promote_pipeline import promote_pipeline
from flows.score_shards import score_shards
from flows.train_classifier import train_classifier
from tasks.common.errors import ModelError, ParameterError
from tasks.promotion import rules
from tasks.tracking import registry
from tests.support.builders import Trained, build_unverified, train_unevaluated
from tests.support.films import numbered_reviews

pytestmark = pytest.mark.usefixtures("new_database")

NAME = "inference_pipeline_model"


@pytest.mark.slow
def test_rows_that_one_of_them_trained_or_validated_on_decide_nothing(
    home: Path, prefect_harness: None, tmp_path: Path
) -> None:
    data = numbered_reviews(tmp_path / "reviews.csv", 1_400)
    first = train_unevaluated("static", data, test_fraction=0.25, validation_fraction=0.25)
    build_unverified(first["finetuned_model"])
    second = train_unevaluated("static", data, test_fraction=0.75)
    built = build_unverified(second["finetuned_model"])
    parts = {
        name: set(pd.read_parquet(f"{first['split_folder']}/{name}.parquet")["text"])
        for name in ("train", "validation", "test")
    }
    test = set(pd.read_parquet(f"{second['split_folder']}/test.parquet")["text"])
    assert test & parts["train"]
    assert test & parts["validation"]
    unused = test & parts["test"]
    assert len(unused) >= rules.MIN_COMPARED_ROWS
    assert f"of champion 1, on {len(unused)} test rows; " in str(built["reason"])
    assert registry.find_version(NAME, "2").tags["test_rows"] == str(len(unused))


@pytest.mark.slow
def test_too_few_rows_decide_nothing_and_the_reason_says_what_to_type(
    home: Path, prefect_harness: None, tmp_path: Path
) -> None:
    data = numbered_reviews(tmp_path / "reviews.csv", 100)
    build_unverified(train_unevaluated("static", data)["finetuned_model"])
    second = train_unevaluated("static", data, seed=7)
    built = build_unverified(second["finetuned_model"])
    rows = len(pd.read_parquet(f"{second['split_folder']}/test.parquet"))
    assert rows < rules.MIN_COMPARED_ROWS
    assert built["alias"] == "challenger"
    assert built["reason"] == (
        f"{rows} of {rows} test rows are new to it and to champion 1; expected "
        f"{rules.MIN_COMPARED_ROWS} or more to compare them; promote it with "
        "python -m flows.promote_pipeline --version 2"
    )
    assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}


def test_other_labels_are_always_a_challenger(trained_anew: Trained, labelled_csv: Path) -> None:
    renamed = labelled_csv.with_name("renamed.csv")
    renamed.write_text(labelled_csv.read_text().replace(",positive", ",glad"))
    report = train_unevaluated("static", renamed)
    built = build_unverified(report["finetuned_model"])
    assert built["alias"] == "challenger"
    assert "other labels than champion 1" in str(built["reason"])


@pytest.mark.slow
def test_labels_that_are_equal_numbers_are_the_same_labels(
    home: Path, prefect_harness: None, labelled_csv: Path, tmp_path: Path
) -> None:
    content = labelled_csv.read_text()
    whole, fractions = tmp_path / "whole.csv", tmp_path / "fractions.csv"
    whole.write_text(content.replace(",positive", ",2").replace(",negative", ",1"))
    fractions.write_text(content.replace(",positive", ",2.0").replace(",negative", ",1.0"))
    assert (
        build_unverified(train_unevaluated("static", fractions)["finetuned_model"])["alias"]
        == "champion"
    )

    for file in (whole, fractions):
        summary = score_shards([str(file)], str(home / file.stem), label_column="label")
        rows = pd.read_parquet(home / file.stem / "predictions")
        share = (rows["prediction_label"].astype(float) == rows["label"]).mean()
        assert share > 0.9
        assert summary["accuracy"] == pytest.approx(share)
        assert set(rows["prediction_label"]) == {"1.0", "2.0"}

    second = build_unverified(train_unevaluated("static", whole)["finetuned_model"])
    assert "test rows are new to it and to champion 1" in str(second["reason"])


def test_a_version_that_is_built_again_keeps_its_standing(trained: Trained) -> None:
    finetuned = trained.training["finetuned_model"]
    again = build_unverified(finetuned, engine="auto", precision="auto")
    assert again["reused"]
    assert again["inference_pipeline_model"] == trained.pipeline["inference_pipeline_model"]
    assert again["alias"] == "champion"


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        ("previous", ParameterError, "^version: .*: there is no previous champion; there are"),
        ("9", ParameterError, "^version: .*: no version '9'; there are the versions \\[1"),
        ("nobody", ParameterError, "^version: .*: no version 'nobody'"),
        ("models:/another/1", ParameterError, "expected a version, an alias, or a URI of"),
    ],
)
def test_what_cannot_be_promoted_is_named(
    trained: Trained, version: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        promote_pipeline(version=version)


def test_a_plain_pipeline_cannot_be_promoted(trained: Trained) -> None:
    plain = build_unverified(trained.training["finetuned_model"], pipeline="plain")
    with pytest.raises(ModelError, match="is plain; expected a full pipeline"):
        promote_pipeline(version=str(plain["inference_pipeline_model"]))


def test_building_without_a_finetuned_model_says_so(home: Path, prefect_harness: None) -> None:
    with pytest.raises(ParameterError, match="nothing is registered under that name yet"):
        build_inference_pipeline()


def test_training_without_rows_for_a_part_is_refused(
    home: Path, prefect_harness: None, tmp_path: Path
) -> None:
    data = tmp_path / "few.csv"
    data.write_text("text,label\na good one,1\na bad one,0\n")
    with pytest.raises(Exception, match="none of 2 rows falls into it"):
        train_classifier(source=str(data))
