"""A challenger becomes champion by labelled traffic, and bounds can only block it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.comparison.types import Comparison, ComparisonReport, Group, Rejects, Speed
from tasks.measures.paired import PairedCounts
from tasks.promotion.on_traffic import decide_on_traffic
from tasks.promotion.taking_back import decide_audit
from tasks.promotion.types import Bounds, Rule
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL as NAME
from tasks.tracking.names import version_uri

pytestmark = pytest.mark.usefixtures("registered")

BETTER, EQUAL = PairedCounts(400, 20, 80, 100), PairedCounts(2_000, 40, 40, 100)


@pytest.fixture
def registered(new_database: None, home: Path) -> None:
    """A champion 1, a challenger 2, and a version 3 with other labels."""
    client = connect()
    for name in (NAME, "dl_finetuned_model"):
        client.create_registered_model(name)
        for number in "123":
            tags = {"kind": "full", "finetuned_model_uri": f"models:/dl_finetuned_model/{number}"}
            tags |= {"labels": '["bad", "good"]' if number != "3" else '["good"]'}
            client.create_model_version(name, source=str(home / name / number), tags=tags)
    client.set_registered_model_alias(NAME, "champion", "1")
    client.set_registered_model_alias(NAME, "challenger", "2")


def report(labels: PairedCounts | None, **fields: Any) -> ComparisonReport:
    """A comparison of 1 and 2 in which a tenth of 1,000 rows are flips."""
    comparison = {
        "present": version_uri(NAME, 1),
        "other": version_uri(NAME, 2),
        "rows": 1_100,
        "scored": 1_000,
        "flips": 100,
        "pairs": {},
        "by_language": {},
        "by_length": {},
        "by_score": {},
        "by_night": {"2026-01-01": Group(rows=1_000, flips=100)},
        "rejects": Rejects(both=50, only_present={}, only_other={"a: b": 22}),
        "known": 0,
        "unknown_labels": 0,
        "repeated": 0,
        "unknown_trainings": False,
        "labels": labels,
        "examples": (),
        "left_out": {},
    }
    speeds = (
        Speed(rows_per_second=9, batch_p95_ms=1, peak_mib=8),
        Speed(rows_per_second=6, batch_p95_ms=1, peak_mib=9),
    )
    return ComparisonReport(
        comparison=Comparison.model_validate(comparison | fields),
        speeds=speeds,
        compared=datetime.now(UTC),
    )


def test_a_better_one_becomes_champion_once() -> None:
    decision = decide_on_traffic(report(BETTER), "if_better", Bounds())
    assert decision.alias == "champion"
    assert decision.reason.startswith(
        "beside champion 1 on traffic, if_better: accuracy 0.8000 and 0.7000 on 600 rows, "
        "repeated_p_value = "
    )
    assert registry.get_aliases(NAME) == {"champion": 2}
    assert registry.find_version(NAME, "2").tags["promotion_reason"] == decision.reason
    again = decide_on_traffic(report(BETTER), "if_better", Bounds())
    assert (again.alias, again.reason) == ("champion", "it is champion already")


def test_one_with_other_labels_is_not_promoted_nor_takes_the_alias_of_the_challenger() -> None:
    found = report(BETTER, other=version_uri(NAME, 3))
    decision = decide_on_traffic(found, "if_better", Bounds())
    assert decision.alias is None
    assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}
    assert registry.find_version(NAME, "3").tags["promotion_reason"] == decision.reason
    assert "; other labels than champion 1: without 1, such as 'bad'; prom" in decision.reason


@pytest.mark.parametrize(("rule", "alias"), [("if_better", "challenger"), ("if_not_worse", None)])
def test_an_equal_one_is_not_shown_to_be_better(rule: Rule, alias: str | None) -> None:
    expected = alias or "champion"
    labels = EQUAL if rule == "if_better" else PairedCounts(2_000, 0, 0, 100)
    assert decide_on_traffic(report(labels), rule, Bounds()).alias == expected


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"max_flips": 0.05}, "max_flips: 0.1; expected 0.05 at most"),
        ({"max_new_rejects": 0.01}, "max_new_rejects: 0.02; expected 0.01 at most"),
        ({"min_speed": 0.8}, "min_speed: 0.6667; expected 0.8 at least"),
        ({"max_memory": 1.1}, "max_memory: 1.125; expected 1.1 at most"),
        ({"min_days": 2}, "min_days: 1; expected 2 at least"),
        ({"max_flips": 0.1, "max_new_rejects": 0.02, "min_speed": 0.6, "max_memory": 1.2}, ""),
    ],
)
def test_bounds_block_a_better_one(bounds: dict[str, float], reason: str) -> None:
    decision = decide_on_traffic(report(BETTER), "if_better", Bounds(**bounds))
    assert decision.alias == ("challenger" if reason else "champion")
    assert reason in decision.reason
    if reason:
        assert decision.reason.endswith(
            f"; {reason}; promote it with python -m flows.promote_pipeline --version 2"
        )
        assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}


def test_a_bound_on_what_was_not_measured_blocks() -> None:
    found = report(BETTER).model_copy(update={"speeds": None})
    decision = decide_on_traffic(found, "if_better", Bounds(min_speed=0.1))
    assert "min_speed: nothing to measure it on; expected 0.1 at least" in decision.reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"labels": None}, "0 rows have a label; expected 200 or more"),
        (
            {"labels": PairedCounts(0, 0, 199, 0), "known": 9},
            "199 rows have a label besides 9 that one was trained or validated on; expected 200",
        ),
        ({"unknown_trainings": True}, "a training of before logged not all texts that it used"),
    ],
)
def test_labels_that_are_too_few_or_known_decide_nothing(
    fields: dict[str, Any], reason: str
) -> None:
    decision = decide_on_traffic(report(**({"labels": BETTER} | fields)), "if_better", Bounds())
    assert decision.alias == "challenger"
    assert reason in decision.reason


def test_another_champion_than_that_of_the_comparison_stays() -> None:
    connect().set_registered_model_alias(NAME, "champion", "3")
    decision = decide_on_traffic(report(BETTER), "if_better", Bounds())
    assert decision.alias is None
    assert decision.reason == "version 3 is champion, and not 1 as in the comparison"
    assert registry.get_aliases(NAME) == {"champion": 3, "challenger": 2}


@pytest.mark.parametrize(
    ("labels", "max_flips", "is_taken_back", "reason"),
    [
        (BETTER, 1.0, True, "accuracy 0.7000, and 0.8000 of the one before, on 600 rows, p = "),
        (EQUAL, 1.0, False, "on 2180 rows, p = 1; it is worse below 0.05"),
        (PairedCounts(100, 0, 80, 19), 1.0, False, "199 rows have a label; expected 200 or more"),
        (None, 0.05, True, "0 rows have a label; expected 200 or more; max_flips: 0.1; expected"),
        (None, 0.2, False, "max_flips: 0.1; expected 0.2 at most"),
        (None, 1.0, False, "0 rows have a label"),
    ],
)
def test_a_champion_is_taken_back_if_the_one_before_is_better_or_differs_too_much(
    labels: PairedCounts | None, max_flips: float, is_taken_back: bool, reason: str
) -> None:
    decision = decide_audit(report(labels), max_flips)
    assert decision.taken_back == is_taken_back
    assert decision.reason.startswith("beside version 2, champion before: ")
    assert reason in decision.reason
    assert registry.get_aliases(NAME)["champion"] == (2 if is_taken_back else 1)
    if is_taken_back:
        assert decide_audit(report(BETTER), 1.0).reason == "version 1 is not champion any more"
        # The two do not take turns, whatever a comparison says.
        uris = {"present": version_uri(NAME, 2), "other": version_uri(NAME, 1)}
        back = decide_on_traffic(report(BETTER, **uris), "if_better", Bounds())
        assert back.alias is None
        assert back.reason.startswith("it was taken back for version 2; promote it with")


def test_few_rows_take_no_champion_back() -> None:
    decision = decide_audit(report(None, scored=199), 0.05)
    assert not decision.taken_back
    assert decision.reason.endswith("199 rows; expected 200 for max_flips")
