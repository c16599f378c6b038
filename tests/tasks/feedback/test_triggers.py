"""Learning begins with labels enough, and a drop or a shift; the reason is one line."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binom

from tasks.common.counting import SCORE_BINS, score_histogram
from tasks.common.settings import get_settings
from tasks.feedback.collecting import AnsweringModel
from tasks.feedback.triggers import (
    AccuracyDrop,
    accuracy_drop,
    assess_need,
    score_bins,
    should_learn,
)
from tasks.feedback.types import FeedbackChoices, GivenAnswer
from tasks.measures.paired import LEVEL
from tasks.measures.stability import Stability
from tasks.output.records import ArmRecord, Counts, ShardRecord
from tasks.tracking.names import RegisteredModel
from tests.support.builders import Trained, use_home
from tests.support.built_once import copied_home
from tests.support.deliveries import record_of
from tests.tasks.feedback.steps import LABELS, take


def test_drop_is_the_exact_one_sided_test() -> None:
    found = accuracy_drop(160, 200, 0.9)
    assert found.p_value == pytest.approx(binom.cdf(160, 200, 0.9))
    assert found.is_shown
    assert not accuracy_drop(175, 200, 0.9).is_shown
    assert not accuracy_drop(200, 200, 0.9).is_shown
    assert accuracy_drop(0, 0, 0.9).p_value == 1
    assert accuracy_drop(199, 200, 1.0).is_shown


def test_a_version_as_good_as_expected_drops_no_more_often_than_the_level() -> None:
    shown = [right for right in range(201) if accuracy_drop(right, 200, 0.85).is_shown]
    chance = sum(binom.pmf(right, 200, 0.85) for right in shown)
    assert LEVEL / 2 < chance <= LEVEL


DROP, NO_DROP = accuracy_drop(160, 200, 0.9), accuracy_drop(180, 200, 0.9)
SHIFT, NO_SHIFT = Stability(0.21, 0.001), Stability(0.2, 0.001)


@pytest.mark.parametrize(
    ("labels", "drop", "stability", "learns"),
    [
        (200, DROP, None, True),
        (200, NO_DROP, SHIFT, True),
        (200, DROP, SHIFT, True),
        (199, DROP, SHIFT, False),
        (200, NO_DROP, NO_SHIFT, False),
        (200, NO_DROP, None, False),
    ],
)
def test_labels_enough_and_a_drop_or_a_shift(
    labels: int, drop: AccuracyDrop, stability: Stability | None, *, learns: bool
) -> None:
    found = should_learn(labels, drop, stability)
    assert found.learn is learns
    assert found.reason.startswith("learns: " if learns else "does not learn: ")


def test_the_reason_has_the_figures_and_the_bounds() -> None:
    assert should_learn(150, DROP, SHIFT).reason == (
        "does not learn: 150 new labels (enough from 200 on); accuracy 0.8000 on 200 labels, "
        "expected 0.9000, p = 1.7e-05 (a drop below 0.05); PSI of the scores 0.210, p = 0.001 (a "
        "shift above 0.2, below 0.05)"
    )
    unknown = should_learn(5, accuracy_drop(0, 0, 0.9), None, least_labels=5).reason
    assert "accuracy unknown on 0 labels" in unknown
    assert "PSI of the scores unknown" in unknown


def record(model_uri: str, scores: list[float], *, arms: dict[str, ArmRecord]) -> ShardRecord:
    update = {"model_uri": model_uri, "scores": score_histogram(scores), "arms": arms}
    return record_of("s", len(scores), {}).model_copy(update=update)


def arm(model_uri: str, scores: list[float]) -> ArmRecord:
    return ArmRecord(
        model_uri=model_uri,
        fingerprint="",
        engine="torch",
        precision="f32",
        counts=Counts(),
        labels={},
        scores=score_histogram(scores),
        seconds=0,
        model_seconds=0,
    )


def test_score_bins_are_those_of_the_rows_that_a_version_answered() -> None:
    split = {"control": arm("models:/p/1", [0.1]), "challenger": arm("models:/p/2", [0.2, 0.3])}
    records = [
        record("models:/p/1", [0.9, 0.9], arms={}),
        record("models:/p/1", [0.1, 0.2, 0.3], arms=split),
        record("models:/p/3", [0.5], arms={}),
        record_of("an empty shard", 0, {}),
    ]
    assert score_bins(records, "models:/p/1") == score_histogram([0.9, 0.9, 0.1])
    assert score_bins(records, "models:/p/2") == score_histogram([0.2, 0.3])
    assert score_bins(records, "models:/p/4") == (0,) * SCORE_BINS


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (0, "learns: 40 new labels (enough from 40 on); accuracy 0.0000 on 40 labels, expected "),
        (40, "does not learn: 40 new labels (enough from 40 on); accuracy 1.0000 on 40 labels"),
    ],
)
def test_the_labels_of_the_champion_s_own_answers_count(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: int,
    said: str,
) -> None:
    use_home(copied_home(trained.home, tmp_path / "own"), monkeypatch)
    champion = RegisteredModel.from_uri(trained.pipeline["inference_pipeline_model"])
    texts = pd.DataFrame({"text": [f"unheard of, number {n}" for n in range(80)]})
    for name, uri in (("own", champion.uri), ("other", "models:/p/9")):
        part = texts[40:] if name == "other" else texts[:40]
        label = "positive" if right else "negative"
        part.assign(label=label).to_csv(tmp_path / f"{name}.csv", index=False)

        def answer(asked: Sequence[str], uri: str = uri) -> list[GivenAnswer | None]:
            return [GivenAnswer("positive", 0.9, uri) for _ in asked]

        take(AnsweringModel(LABELS, answer), feedback=(str(tmp_path / f"{name}.csv"),))
    need = assess_need(champion, FeedbackChoices(), "", 40)
    assert need.reason.startswith(said)
    assert need.learn is (right == 0)
    assert not assess_need(champion, FeedbackChoices(), "", 41).learn
    get_settings.cache_clear()
