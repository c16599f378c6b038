"""The page of a comparison."""

from datetime import UTC, datetime

from tasks.comparison.types import Comparison, ComparisonReport, Flip, Group, Rejects
from tasks.pages.page import render_page
from tasks.reports.comparison_report import comparison_page


def test_the_most_frequent_languages_are_shown_and_texts_are_shortened() -> None:
    languages = {f"l{number:02}": Group(rows=number + 1, flips=1) for number in range(30)}
    flip = Flip(
        shard="a-1", row=7, text="<b>\u202e" + 500 * "x", present=("bad", 0.9), other=("good", 0.8)
    )
    comparison = Comparison(
        present="models:/a/1",
        other="models:/a/2",
        rows=465,
        scored=465,
        flips=30,
        pairs={"bad": {"good": 30}},
        by_language=languages,
        by_length={"0-49": Group(rows=465, flips=30)},
        by_score={"0.50-0.55": Group(rows=465, flips=30)},
        by_night={"2026-01-01": Group(rows=465, flips=30)},
        rejects=Rejects(both=0, only_present={}, only_other={}),
        known=1_000,
        unknown_labels=2,
        repeated=3,
        unknown_trainings=False,
        labels=None,
        examples=(flip,),
        left_out={},
    )
    report = ComparisonReport(comparison=comparison, speeds=None, compared=datetime.now(UTC))
    page = render_page(comparison_page(report))
    assert page.index(">l29<") < page.index(">l10<")
    assert ">l09<" not in page
    assert "&lt;b&gt;·xxx" in page
    assert 400 * "x" not in page
    for note in ("1,000 rows with a label do not count: one of", "2 rows with", "3 rows with"):
        assert note in page
