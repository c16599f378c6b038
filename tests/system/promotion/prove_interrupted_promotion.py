"""Promotions that end before they are done, and references that mean nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.building.prefect_tasks import plan_pipeline
from tasks.common.errors import ParameterError
from tasks.composition.types import PipelineParameters
from tasks.maintenance.cache_pruning import prune_cache_entries
from tasks.promotion import aliases, taking_back
from tasks.promotion.aliases import promote_by_hand
from tasks.promotion.rules import decide_promotion
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL as NAME
from tasks.tracking.names import PREVIOUS_TAG, RegisteredModel

pytestmark = pytest.mark.usefixtures("new_database")

FINETUNED = "dl_finetuned_model"
WRITES = (
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)
ALL_WRITES = 8  # of a promotion


class Interrupted(BaseException):
    """The end of the process, as the running code sees it."""


@pytest.fixture
def announced(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is announced from now on, of a registry with a champion 1 and a challenger 2."""
    announced: list[int] = []
    monkeypatch.setattr(
        aliases, "announce_champion", lambda _, version, __: announced.append(version)
    )
    client = connect()
    for name in (NAME, FINETUNED):
        client.create_registered_model(name)
        for number in (1, 2):
            tags = {"kind": "full", "finetuned_model_uri": f"models:/{FINETUNED}/{number}"}
            client.create_model_version(name, source=str(home / name / str(number)), tags=tags)
    begin_again(announced)
    return announced


def begin_again(announced: list[int]) -> None:
    """Make 1 champion and 2 challenger, as if nothing had been before."""
    aliases.set_champion(NAME, registry.find_version(NAME, "1"), "the first version")
    aliases.set_challenger(NAME, registry.find_version(NAME, "2"), "a little worse")
    connect().delete_registered_model_tag(NAME, PREVIOUS_TAG)
    announced.clear()


@contextmanager
def interrupted_after(writes: int) -> Iterator[None]:
    """Let so many writes to the registry pass and no more."""
    left = iter(range(writes))

    def counted(write: Any) -> Any:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise Interrupted
            return write(*arguments, **named)

        return wrapper

    with pytest.MonkeyPatch.context() as monkeypatch, suppress(Interrupted):
        for name in WRITES:
            monkeypatch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        yield


@pytest.mark.slow
def test_a_promotion_that_was_interrupted_is_finished_by_the_next_attempt(
    announced: list[int],
) -> None:
    for writes in range(ALL_WRITES):
        begin_again(announced)
        with interrupted_after(writes):
            promote_by_hand("challenger", "it reads better")
        if "challenger" in registry.get_aliases(NAME):  # as long as the same command means the same
            promote_by_hand("challenger", "it reads better")
        # Between the announcement and the note of it, a second one is the lesser evil.
        assert set(announced) == {2}, writes
        assert registry.get_aliases(NAME) == {"champion": 2}
        assert registry.get_aliases(FINETUNED)["champion"] == 2
        assert int(aliases.previous_champion(NAME).version) == 1
        assert registry.find_version(NAME, "2").tags["promotion_reason"] == "it reads better"


@pytest.mark.slow
def test_going_back_that_was_interrupted_is_finished_by_the_next_attempt(
    announced: list[int],
) -> None:
    for writes in range(ALL_WRITES):
        begin_again(announced)
        promote_by_hand("2", "it reads better")
        with interrupted_after(writes):
            promote_by_hand("previous", "it does not")
        if int(aliases.previous_champion(NAME).version) == 1:
            promote_by_hand("previous", "it does not")
        assert announced[0] == 2
        assert set(announced[1:]) == {1}, writes
        assert registry.get_aliases(NAME)["champion"] == 1
        assert int(aliases.previous_champion(NAME).version) == 2


@pytest.mark.slow
def test_taking_back_that_was_interrupted_is_finished_by_the_next_attempt(
    announced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(taking_back, "_announce", lambda _, champion, __: told.append(champion))
    two, one = (RegisteredModel(name=NAME, version=number) for number in (2, 1))
    for writes in range(ALL_WRITES + 4):
        begin_again(announced)
        promote_by_hand("2", "it reads better")
        announced.clear()
        told.clear()
        with interrupted_after(writes):
            taking_back.take_back(two, one, "it does not")
        if registry.get_aliases(NAME)["champion"] == 2:  # as long as the audit finds the same
            taking_back.take_back(two, one, "it does not")
        else:
            taking_back.complete_taking_back(NAME)
        assert set(announced) == {1}, writes
        assert set(told) == {1}, writes
        told.clear()
        taking_back.complete_taking_back(NAME)
        assert not told
        assert registry.get_aliases(NAME)["champion"] == 1
        assert int(aliases.previous_champion(NAME).version) == 2
        # It was replaced, and is not promoted again by a build of equal inputs.
        assert decide_promotion(two, "if_better").alias is None


def test_a_version_whose_promotion_was_interrupted_is_built_again(announced: list[int]) -> None:
    def end(*_: object) -> None:
        raise Interrupted

    with pytest.MonkeyPatch.context() as monkeypatch, suppress(Interrupted):
        monkeypatch.setattr(aliases, "announce_champion", end)
        aliases.set_champion(NAME, registry.find_version(NAME, "2"), "no lower")
    assert registry.get_aliases(NAME)["champion"] == 2
    for _ in range(2):
        standing = decide_promotion(RegisteredModel(name=NAME, version=2), "if_better")
        assert (standing.alias, standing.reason) == ("champion", "no lower")
        assert announced == [2]


def test_what_an_interrupted_promotion_left_is_done_before_a_comparison(
    announced: list[int],
) -> None:
    aliases.complete_promotion(NAME)
    assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}
    for writes in range(5, ALL_WRITES):  # the fifth is the alias
        begin_again(announced)
        with interrupted_after(writes):
            aliases.set_champion(NAME, registry.find_version(NAME, "2"), "better")
        aliases.complete_promotion(NAME)
        assert set(announced) == {2}, writes
        assert registry.get_aliases(NAME) == {"champion": 2}, writes
        assert int(aliases.previous_champion(NAME).version) == 1


def test_a_champion_without_a_reason_keeps_its_standing(announced: list[int]) -> None:
    connect().delete_model_version_tag(NAME, "1", "promotion_reason")
    assert decide_promotion(RegisteredModel(name=NAME, version=1), "if_better").alias == "champion"
    assert announced == []


def test_promoting_the_champion_announces_nothing(announced: list[int]) -> None:
    promote_by_hand("champion", "once more")
    assert announced == []
    with interrupted_after(1):
        promote_by_hand("2", "it reads better")
    promote_by_hand("champion", "it does not")
    assert announced == []
    assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}


def test_a_reason_that_no_tag_holds_is_refused_before_anything_is_written(
    announced: list[int],
) -> None:
    with pytest.raises(ParameterError, match=r"^reason: 1001 characters; expected 1000 at most"):
        promote_by_hand("2", "x" * 1_001)
    assert registry.get_aliases(NAME) == {"champion": 1, "challenger": 2}
    assert aliases._PENDING_TAG not in registry.find_version(NAME, "2").tags


@pytest.mark.parametrize(
    ("look_up", "field"),
    [
        (lambda: plan_pipeline.fn("no such!", PipelineParameters()), "finetuned_model"),
        (lambda: promote_by_hand("no such!", "by hand"), "version"),
        (lambda: prune_cache_entries(["no such!"], dry_run=True), "keep"),
        (lambda: registry.resolve_pipeline("no such!"), "model_uri"),
    ],
)
def test_a_reference_of_no_form_is_refused_by_the_name_of_its_field(
    announced: list[int], look_up: Callable[[], object], field: str
) -> None:
    with pytest.raises(ParameterError, match=f"^{field}: 'no such!'; expected "):
        look_up()
