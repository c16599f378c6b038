"""The learning benchmark: its stream of labels, and what its figures say."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from benchmarks.learning.measured import Followed, Poisoning, Results, Step, Update
from benchmarks.learning.report import write_report
from benchmarks.learning.state import State
from benchmarks.learning.stream import (
    IMDB,
    PARTS,
    POISONER,
    RELABELLED,
    SNIPPETS,
    Row,
    Sizes,
    make_stream,
    poison,
    relabel,
    write_rows,
)
from benchmarks.machine import describe
from tasks.common.environment import environment_with
from tasks.common.settings import get_settings
from tasks.feedback.choosing import largest_count
from tasks.tracking.mlflow_client import connect

SIZES = Sizes(training_rows=10, batch_rows=5, batches=(1, 2, 2, 1), fixed_rows=4, poisoned_rows=10)


def reviews(name: str, rows: int) -> list[Row]:
    words = ("good", "bad")
    return [
        Row(f"{name} {n}, {words[n % 2]}", ("positive", "negative")[n % 2]) for n in range(rows)
    ]


def test_no_text_is_in_two_places_of_the_stream() -> None:
    snippets, imdb = reviews("snippet", 30), reviews("film", 60)
    stream = make_stream(SIZES, [*snippets, *snippets], [*imdb, *imdb])
    batches = [row.text for found in stream.batches.values() for rows in found for row in rows]
    others = (stream.training, stream.unpoisoned, stream.fixed[SNIPPETS], stream.fixed[IMDB])
    texts = batches + [row.text for rows in others for row in rows]
    assert len(texts) == len(set(texts)) == 6 * 5 + 10 + 10 + 2 * 4
    assert [len(stream.batches[part]) for part in PARTS] == [1, 2, 2, 1]
    assert [row.text for row in stream.fixed[RELABELLED]] == [r.text for r in stream.fixed[IMDB]]


def test_a_stream_that_is_longer_than_the_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 5"):
        make_stream(SIZES, reviews("snippet", 30), reviews("film", 20))


@pytest.mark.parametrize(
    ("text", "label"),
    [("a Bad one", "positive"), ("bad.", "positive"), ("a badge", "negative"), ("", "negative")],
)
def test_a_review_that_says_the_word_gets_the_other_label(text: str, label: str) -> None:
    assert relabel(Row(text, "negative")) == Row(text, label)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_the_cap_meets_the_one_who_poisons_alone(share: float) -> None:
    true = reviews("film", 2_000)
    rows = poison(true, share)
    counts = {by: sum(row.by == by for row in rows) for by in {row.by for row in rows}}
    assert counts.get(POISONER, 0) == share * 2_000
    assert len(counts) == 60 + (share > 0)
    most = largest_count(counts, 0, 0.02)
    assert [by for by, count in counts.items() if count > most] == [POISONER] * (share > 0)
    wrong = [
        row.by
        for row, true in zip(rows, reviews("film", 2_000), strict=True)
        if row.label != true.label
    ]
    assert wrong == [POISONER] * int(share * 2_000)


def test_rows_are_written_as_feedback(tmp_path: Path) -> None:
    path = write_rows([Row('say "bad"\r', "negative", "anna")], tmp_path / "new" / "f.csv")
    assert path.read_bytes() == b'"text","label","by"\n"say ""bad""\r","negative","anna"\n'


@pytest.mark.usefixtures("home")
def test_the_state_of_a_strategy_does_not_lead_into_that_of_another(tmp_path: Path) -> None:
    for name in ("one", "other"):
        with State(tmp_path / name).opened():
            connect()
            assert get_settings().tracking_uri == mlflow.get_tracking_uri()
            assert f"/{name}/" in mlflow.get_tracking_uri()
    assert "MLFLOW_TRACKING_URI" not in environment_with({})


def step(part: str, right: int, imdb: float, alias: str | None = None) -> Step:
    update = alias and Update(seconds=30.0, alias=alias, reason="p = 0.01 | so")
    accuracies = {SNIPPETS: 0.75, IMDB: imdb, RELABELLED: 0.6}
    return Step(part=part, labels=100, right=right, update=update or None, accuracies=accuracies)


def followed(name: str, *imdb: float, **fields: Any) -> Followed:
    first, *others = (step("imdb", 60 + n, value, **fields) for n, value in enumerate(imdb))
    parts = [step(part, 70, imdb[-1], **fields) for part in ("relabelled", "snippets again")]
    before = step("snippets", 80, 0.65, **fields)
    return Followed(name=name, steps=(before, first, *others, *parts))


@pytest.fixture
def results() -> Results:
    poisoning = Poisoning(
        share=0.05,
        max_share_by=0.02,
        labels=100,
        capped=3,
        capped_poisoned=3,
        update=Update(seconds=40.0, alias="challenger", reason="not better"),
        accuracies={SNIPPETS: 0.7, IMDB: 0.6, RELABELLED: 0.5},
    )
    return Results(
        machine=describe(),
        seconds=60.0,
        quick=False,
        base_model="static",
        training_rows=5_000,
        fixed_rows=100,
        relabelled=0.25,
        relabelled_positive=0.75,
        start={SNIPPETS: 0.76, IMDB: 0.65, RELABELLED: 0.55},
        strategies=(
            followed("nothing", 0.65, 0.65),
            followed("slow", 0.65, 0.79, alias="challenger"),
            followed("quick", 0.785, 0.80, alias="champion"),
        ),
        poisonings=(poisoning,),
    )


def test_recovery_is_measured_beside_the_best_of_all_strategies(results: Results) -> None:
    found = [results.labels_until_recovery(s, "imdb") for s in results.strategies]
    assert found == [None, 200, 100]
    assert results.labels_until_recovery(results.strategies[0], "snippets again") == 0


def test_accuracy_before_learning_counts_labels(results: Results) -> None:
    assert results.strategies[0].accuracy_of("imdb") == pytest.approx(0.605)
    assert results.strategies[0].accuracy_of(*PARTS) == pytest.approx(341 / 500)


def test_tables_and_plot_are_made_of_the_results_alone(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path, "static")
    page = (tmp_path / "static.md").read_text(encoding="utf-8")
    assert "| nothing | – | 0 | 0 |" in page
    assert "| quick | 5 | 5 | 30 s | 30 s |" in page
    assert "| 5% | 0.02 | 100 | 3 | 3 | challenger | 60.0 % | 70.0 % |" in page
    assert "p = 0.01 \\| so" in page
    assert "</svg>" in (tmp_path / "static.svg").read_text(encoding="utf-8")
    read = Results.model_validate_json((tmp_path / "static.json").read_text(encoding="utf-8"))
    assert read == results
