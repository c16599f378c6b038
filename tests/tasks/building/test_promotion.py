"""Who becomes champion, by rule and by hand."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from flows.build_inference_pipeline import build_inference_pipeline
from flows.promote_pipeline import promote_pipeline
from flows.score_shards import score_shards
from flows.train_classifier import train_classifier
from tasks.building import promotion
from tasks.common.errors import ModelError, ParameterError
from tasks.tracking import registry
from tests.support.builders import Trained, build_unverified, train_unevaluated

pytestmark = pytest.mark.usefixtures("new_database")

NAME = "inference_pipeline_model"


def score(home: Path, rows: Path, why: str) -> pd.DataFrame:
    """Score `rows` as the time before, with the champion of now."""
    summary = score_shards([str(rows)], str(home / "scored"))
    assert summary["scored"] == 300
    assert summary["scored_because"] == {why: 1}
    return pd.read_parquet(home / "scored" / "predictions")


def numbered_reviews(path: Path, rows: int) -> Path:
    """Write rows of which the number alone decides the part; the ninth word tells the label."""
    words = {"negative": "awful", "positive": "great"}
    film = "the film that we saw last night was"
    table = [(f"{film} {words[label]}, {n}", label) for n in range(rows // 2) for label in words]
    pd.DataFrame(table, columns=["text", "label"]).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_champions_come_and_go_by_their_accuracy_on_the_candidates_test_rows(
    home: Path, prefect_harness: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = numbered_reviews(tmp_path / "reviews.csv", 300)
    first = train_unevaluated("static", data)
    assert build_unverified(first["finetuned_model"])["alias"] == "champion"

    # It does not read as far as the word that tells.
    worse = train_unevaluated("static", data, max_tokens=8)
    challenger = build_unverified(worse["finetuned_model"])
    assert challenger["alias"] == "challenger"
    version = registry.find_version(NAME, "challenger")
    assert float(version.tags["accuracy"]) < float(version.tags["champion_accuracy"])
    assert version.tags["champion_version"] == "1"
    assert "is below" in version.tags["promotion_reason"]
    assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}

    rows = score(home, data, why="new")
    (old_uri,) = set(rows["inference_pipeline_model_uri"])

    equal = train_unevaluated("static", data, sample_size=200)
    third = build_unverified(equal["finetuned_model"])
    assert third["alias"] == "champion"
    assert "is no lower than" in str(third["reason"])
    assert registry.get_aliases(NAME) == {"champion": 3, "challenger": 2}
    assert registry.get_aliases("dl_finetuned_model") == {"champion": 3, "challenger": 2}

    # A challenger that is built again is compared with the champion of now.
    again = build_unverified(worse["finetuned_model"])
    assert again["alias"] == "challenger"
    assert "of champion 3" in str(again["reason"])

    # No answer of an earlier champion is given as the new one's.
    rows = score(home, data, why="the model changed")
    assert old_uri not in set(rows["inference_pipeline_model_uri"])
    assert not rows["cached"].any()

    promote_pipeline(version="previous", reason="it was better")
    assert registry.get_aliases(NAME)["champion"] == 1
    # Its answers are still there.
    rows = score(home, data, why="the model changed")
    assert set(rows["inference_pipeline_model_uri"]) == {old_uri}
    assert rows["cached"].all()

    assert registry.find_version(NAME, "1").tags["promotion_reason"] == "it was better"
    # A schedule that builds the replaced version again does not undo that.
    again = build_unverified(equal["finetuned_model"])
    assert again["alias"] is None
    assert "version 1 replaced it as champion by hand" in str(again["reason"])
    assert registry.get_aliases(NAME)["champion"] == 1
    promotion.promote_by_hand("previous", "it was not")
    assert registry.get_aliases(NAME)["champion"] == 3
    promotion.promote_by_hand("challenger", "why not")
    assert registry.get_aliases(NAME) == {"champion": 2}
    assert registry.get_aliases("dl_finetuned_model") == {"champion": 2}

    # Who is chosen by hand during a comparison is compared with as well.
    accuracy = promotion._accuracy
    asked: list[str] = []

    def chosen_meanwhile(version: ModelVersion, rows: pd.DataFrame) -> float:
        if not asked:
            promotion.promote_by_hand("1", "meanwhile")
        asked.append(version.version)
        return accuracy(version, rows)

    monkeypatch.setattr(promotion, "_accuracy", chosen_meanwhile)
    fourth = build_unverified(equal["finetuned_model"], max_tokens=24)
    assert [int(version) for version in asked] == [4, 2, 4, 1]
    assert "of champion 1, on" in str(fourth["reason"])


@pytest.mark.slow
def test_the_champion_is_compared_on_rows_that_it_was_not_trained_on(
    home: Path, prefect_harness: None, tmp_path: Path
) -> None:
    data = numbered_reviews(tmp_path / "reviews.csv", 400)
    first = train_unevaluated("static", data)
    build_unverified(first["finetuned_model"])
    second = train_unevaluated("static", data, test_fraction=0.5)
    built = build_unverified(second["finetuned_model"])
    train, test = (
        pd.read_parquet(f"{folder}/{part}.parquet")
        for folder, part in ((first["split_folder"], "train"), (second["split_folder"], "test"))
    )
    unseen = test[~test["text"].isin(train["text"])]
    assert promotion.MIN_COMPARED_ROWS <= len(unseen) < len(test)
    assert str(built["reason"]).endswith(f"of champion 1, on {len(unseen)} test rows")
    assert registry.find_version(NAME, "2").tags["test_rows"] == str(len(unseen))


@pytest.mark.slow
def test_too_few_rows_decide_nothing_and_the_reason_says_what_to_type(
    home: Path, prefect_harness: None, tmp_path: Path
) -> None:
    data = numbered_reviews(tmp_path / "reviews.csv", 100)
    build_unverified(train_unevaluated("static", data)["finetuned_model"])
    second = train_unevaluated("static", data, seed=7)
    built = build_unverified(second["finetuned_model"])
    rows = len(pd.read_parquet(f"{second['split_folder']}/test.parquet"))
    assert rows < promotion.MIN_COMPARED_ROWS
    assert built["alias"] == "challenger"
    assert built["reason"] == (
        f"{rows} of {rows} test rows were seen neither by it nor by champion 1; expected "
        f"{promotion.MIN_COMPARED_ROWS} or more to compare them; promote it with "
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
    assert "of champion 1, on" in str(second["reason"])


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
