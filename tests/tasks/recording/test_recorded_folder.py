"""What reads an output folder reads recorded requests, and what writes one does them no harm."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.clean_up import clean_up
from flows.compare_pipelines import compare_pipelines
from flows.compare_shadow import compare_shadow
from flows.explain_prediction import explain_prediction
from flows.learn_from_feedback import learn_from_feedback
from flows.score_shards import score_shards
from pyfunc.batching import DEFAULT_BATCH_TOKENS
from tasks.common.errors import ParameterError, ShardsFailedError
from tasks.common.settings import get_settings
from tasks.comparison.speed import sample_texts
from tasks.output.file_ids import recorded_ids
from tasks.output.records import PREDICTION_COLUMNS, read_records
from tasks.recording.recorded_rows import AnsweredRequest
from tasks.recording.recorder import Recorder
from tasks.recording.types import RecordOptions
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.scoring.types import ScoringParameters
from tasks.shadow.answers import compare_answers, find_answers
from tasks.shadow.shard_sample import answer_sample
from tasks.shadow.types import FoundShadow, shadow_folder
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tasks.tracking.pipeline_loader import load_typed_pipeline
from tests.support.builders import build_unverified, train_unevaluated, use_home
from tests.support.built_once import copied_home
from tests.support.business import build_with_rules, write_composition, write_customers

CHAMPION, CHALLENGER, WITH_RULES = (f"models:/{PIPELINE_MODEL}/{n}" for n in (1, 2, 3))
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TEXTS = [f"a {('great', 'awful')[n % 2]} film, number {n}" for n in range(12)]


@pytest.fixture(scope="module")
def _static_home(
    prefect_harness: None,
    _new_database: Path,
    labelled_csv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A state folder with three versions of a static model, the last with look-ups and rules."""
    folder = tmp_path_factory.mktemp("static")
    home = folder / "var"
    home.mkdir()
    shutil.copy(_new_database, home)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(home, monkeypatch)
        monkeypatch.setenv(
            "MILLSTREAM_SOURCE_CRM", f"sqlite:///{write_customers(folder / 'crm.db')}"
        )
        finetuned = train_unevaluated("static", labelled_csv)["finetuned_model"]
        build_unverified(finetuned)
        build_unverified(finetuned, max_tokens=3)
        composition = write_composition(folder, finetuned)
        composition.write_text(composition.read_text().replace("engine: torch", "engine: auto"))
        build_with_rules(composition)
        for alias, number in (("champion", "1"), ("challenger", "2")):
            connect().set_registered_model_alias(PIPELINE_MODEL, alias, number)
    return folder


@pytest.fixture
def home(_static_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_home(_static_home / "var", monkeypatch)
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", f"sqlite:///{_static_home / 'crm.db'}")
    connect()
    yield _static_home / "var"
    get_settings.cache_clear()


@pytest.fixture
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for a test that registers a version."""
    copy = copied_home(home, tmp_path / "own")
    use_home(copy, monkeypatch)
    connect()
    return copy


@pytest.fixture
def online(home: Path, tmp_path: Path) -> Path:
    """Requests that the champion answered: twelve texts, an empty one, and a number."""
    return record(tmp_path / "online", [*TEXTS, "", 7])


def record(
    folder: Path,
    texts: Sequence[object],
    columns: Mapping[str, Sequence[Any]] | None = None,
    *,
    version: str = CHAMPION,
    when: datetime = NOON,
    **options: Any,
) -> Path:
    """Answer texts as a server does, and record them."""
    model, pipeline = resolve_scoring_model(version), load_typed_pipeline(version)
    asked: dict[str, Any] = {"use_cache": False, "batch_tokens": DEFAULT_BATCH_TOKENS}
    business: Any = pipeline
    if model.business:
        answers = business.answer_rows(texts, columns or {}, **asked)
    else:
        answers = pipeline.answer(texts, **asked)
    recorder = Recorder(folder, RecordOptions(**options))
    added = getattr(answers, "columns", None)
    recorder.add(AnsweredRequest(texts, answers.outcomes, model, when, columns or {}, added))
    recorder.close()
    assert recorder.recorded == len(texts)
    return folder


def predictions(folder: Path) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, sorted((folder / "predictions").glob("*.parquet"))))


def write_feedback(path: Path, rows: list[dict[str, Any]]) -> str:
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


# Feedback


def stored(home: Path) -> pd.DataFrame:
    paths = sorted((home / "feedback-store").glob("batch-*.parquet"))
    return pd.read_parquet(paths[-1])


@pytest.mark.slow
def test_feedback_is_joined_by_shard_and_row_and_by_text(own_home: Path, tmp_path: Path) -> None:
    online = record(tmp_path / "online", TEXTS)
    (shard,) = recorded_ids(online)
    given = predictions(online).set_index("row")
    rows = [{"shard": shard, "row": row, "label": "positive"} for row in (2, 4)]
    files = [write_feedback(tmp_path / "rows.csv", rows)]
    # The challenger answered later: what it said is the answer that the person saw.
    record(online, TEXTS[6:8], version=CHALLENGER, when=NOON + timedelta(hours=2))
    texts = [
        {"text": TEXTS[5], "label": "positive", "when": NOON + timedelta(hours=1)},
        {"text": TEXTS[6], "label": "negative", "when": NOON + timedelta(hours=1)},
        {"text": TEXTS[7], "label": "negative", "when": NOON + timedelta(hours=3)},
        {"text": TEXTS[8], "label": "negative", "when": NOON - timedelta(hours=1)},
        {"text": "a film that nobody asked", "label": "negative", "when": NOON},
    ]
    files.append(write_feedback(tmp_path / "texts.csv", texts))
    report = learn_from_feedback(tuple(files), str(online), promotion="never")
    assert (report["taken_in"], report.get("refused")) == (7, None)
    found = stored(own_home).set_index("text")
    for row in (2, 4, 6, 7):
        kept = found.loc[TEXTS[row - 1]]
        assert kept["answered_label"] == given.loc[row, "prediction_label"]
        assert kept["answered_score"] == given.loc[row, "prediction_score"]
        assert kept["model_uri"] == CHAMPION
    assert found.loc[TEXTS[7], "model_uri"] == CHALLENGER
    assert found.loc[TEXTS[8], "model_uri"] == CHAMPION  # answered now


def test_feedback_to_rows_without_text_needs_the_text(home: Path, tmp_path: Path) -> None:
    online = record(tmp_path / "online", ["a hidden gem, great", "a dull one"], with_text=False)
    (shard,) = recorded_ids(online)
    rows: list[dict[str, Any]] = [
        {"shard": shard, "row": 1, "label": "positive", "text": "a hidden gem, great"},
        {"shard": shard, "row": 2, "label": "positive", "text": "another text"},
        {"shard": shard, "row": 2, "label": "negative", "text": ""},
        {"shard": "", "row": "", "label": "negative", "text": "a dull one"},
    ]
    path = write_feedback(tmp_path / "rows.csv", rows)
    report = learn_from_feedback((path,), str(online), promotion="never", when_needed=True)
    assert report["taken_in"] == 2
    assert report["refused"] == {
        "text: another one than that of the row": 1,
        "text: not recorded": 1,
    }
    kept = stored(home).set_index("text")
    assert (
        kept.loc["a dull one", "answered_score"] == predictions(online)["prediction_score"].iloc[1]
    )
    assert "None" not in kept.index


# Comparisons


def test_recorded_requests_are_scored_again_as_an_input(online: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    summary = score_shards([str(online / "predictions"), str(online / "rejected")], str(again))
    assert (summary["scored"], summary["rejected"]) == (12, 2)
    before, after = predictions(online), predictions(again)
    own = ["text", "answered_at", "text_sha256"]
    assert list(after) == [*own, *PREDICTION_COLUMNS]
    same = [*own, "prediction_label", "prediction_score"]
    pd.testing.assert_frame_equal(after[same], before[same])


@pytest.mark.slow
def test_two_versions_are_compared_on_recorded_requests(online: Path, tmp_path: Path) -> None:
    found = compare_pipelines((str(online / "predictions"),), output_dir=str(tmp_path / "compared"))
    assert found["rows"] == 12
    assert (found["champion"], found["challenger"]) == (CHAMPION, CHALLENGER)


def test_requests_without_text_are_no_input(home: Path, tmp_path: Path) -> None:
    online = record(tmp_path / "online", TEXTS[:2], with_text=False)
    with pytest.raises(
        ShardsFailedError, match=r"parquet: has requests that are recorded without text; exp"
    ):
        score_shards([str(online / "predictions")], str(tmp_path / "again"))
    assert sample_texts(online) == []  # none to measure the speed of versions on


def test_a_version_answers_recorded_requests_in_their_shadow(online: Path, tmp_path: Path) -> None:
    (found,) = read_records(online)
    folder = shadow_folder(online, CHALLENGER)
    rows = found.parameters.model_copy(update={"sample": 1.0})
    challenger = resolve_scoring_model(CHALLENGER)
    answer_sample(found, online, ScoringParameters(model=challenger, output_dir=folder, rows=rows))
    shadow = FoundShadow(versions=(CHAMPION, CHALLENGER), folder=folder)
    comparison = compare_answers(online, shadow, label_column="", examples=3)
    assert (comparison.rows, comparison.scored) == (14, 12)
    assert find_answers(online, "champion", "challenger").folder == folder


# Lineage


@pytest.mark.parametrize("row", [1, 12])
def test_a_recorded_row_is_traced_and_predicted_again(online: Path, row: int) -> None:
    (shard,) = recorded_ids(online)
    chain = explain_prediction(str(online), shard, row, verify=True)
    given = predictions(online).set_index("row").loc[row]
    assert chain["text"] == TEXTS[row - 1]
    assert chain["prediction_score"] == given["prediction_score"]
    assert chain["asked_version"] == chain["computed_by_version"] == CHAMPION
    assert chain["input_file"] == "online requests"
    assert chain["scored_at"] == chain["answered_at"] == NOON.isoformat()
    assert chain["verified"].startswith("same label, scores within ")


def test_a_refused_request_is_traced(online: Path) -> None:
    (shard,) = recorded_ids(online)
    chain = explain_prediction(str(online), shard, 14)
    assert (chain["reason"], chain["raw"], chain["text"]) == ("not text but int", "7", None)


def test_a_row_without_text_is_traced_and_cannot_be_verified(home: Path, tmp_path: Path) -> None:
    online = record(tmp_path / "online", TEXTS[:2], with_text=False)
    (shard,) = recorded_ids(online)
    chain = explain_prediction(str(online), shard, 2)
    assert (chain["text"], chain["prediction_label"]) == (None, "negative")
    with pytest.raises(ParameterError, match=f"^verify: {shard} row 2: was recorded without its t"):
        explain_prediction(str(online), shard, 2, verify=True)


def test_what_look_ups_and_rules_decided_online_is_traced(home: Path, tmp_path: Path) -> None:
    texts, customers = ["an awful film", "a great film", "an awful film"], [1, 2, 3]
    columns: dict[str, list[Any]] = {"customer_id": customers, "channel": ["web", None, "app"]}
    online = record(tmp_path / "online", texts, columns, version=WITH_RULES)
    found = predictions(online)
    assert found["customer_id"].tolist() == [1, 2]
    assert found["lookup_customer_tier"].tolist() == ["gold", "basic"]
    assert found["decision_queue"].tolist()[0] == "urgent"
    (shard,) = recorded_ids(online)
    chain = explain_prediction(str(online), shard, 1, verify=True)
    assert chain["decision_verified"].startswith("same decisions")
    refused = explain_prediction(str(online), shard, 3)
    assert (refused["reason"], refused["customer_id"]) == ("opted out", 3)
    (found_record,) = read_records(online)
    assert found_record.counts.to_deliver == 1


# What writes and removes outputs


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_does_not_write_into_recorded_requests(online: Path, tmp_path: Path) -> None:
    before = files(online)
    pd.DataFrame({"text": TEXTS}).to_csv(tmp_path / "rows.csv", index=False)
    for dry_run in (False, True):
        with pytest.raises(ParameterError, match=f"^output_dir: {online} has recorded online req"):
            score_shards([str(tmp_path / "rows.csv")], str(online), dry_run=dry_run)
    assert files(online) == before


def test_a_comparison_with_a_shadow_reads_them(online: Path) -> None:
    before = files(online)
    report = compare_shadow(str(online))
    assert "has no answers" in report["reason"]
    assert files(online) == before


def leftovers(**parameters: Any) -> set[str]:
    """Return the versions that a clean-up would free."""
    report = clean_up(kinds=["versions"], keep_versions=0, older_than_days=0, **parameters)
    return {found["name"] for found in report["leftovers"]}


def test_clean_up_removes_drafts_of_killed_servers_and_no_recorded_request(home: Path) -> None:
    online = record(home / "scored" / "online", TEXTS[:2])
    before = files(online)
    draft = online / "predictions" / ".online-x.parquet.1-0a0a0a0a.draft"
    draft.write_bytes(b"PAR1")
    clean_up(apply=True, kinds=["outputs"], output_dirs=[str(online)])
    assert draft.exists()
    month = time.time() - 31 * 86_400
    for path in online.rglob("*"):
        os.utime(path, (month, month))
    clean_up(apply=True, kinds=["outputs"], output_dirs=[str(online)])
    assert not draft.exists()
    assert before.items() <= files(online).items()
    shutil.rmtree(online)


def test_clean_up_keeps_the_versions_of_recorded_requests(home: Path, tmp_path: Path) -> None:
    assert leftovers() == {WITH_RULES}
    columns = {"customer_id": [1]}
    online = record(home / "scored" / "online", ["a film"], columns, version=WITH_RULES)
    assert leftovers() == set()
    online.rename(tmp_path / "online")
    assert leftovers() == {WITH_RULES}
    assert leftovers(output_dirs=[str(tmp_path / "online")]) == set()
