"""Trees of compositions: JSON and back, their labels, and one line for each fault."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.composition.tree import (
    Cascade,
    Node,
    TreeError,
    deciders_of,
    has_open_thresholds,
    labels_of,
    members_of,
    mixed_members,
    rename_members,
    routes_by_language,
    transform,
    walk,
)
from pyfunc.composition.tree_json import MAX_DEPTH, parse_tree, to_json
from tests.pyfunc.composition.trees import TREES

LABELS = {"film": ("bad", "good"), "long": ("good", "bad"), "kind": ("imdb", "rotten")}

ROUTED = {
    "route": {"label_of": "kind"},
    "to": {"imdb": {"average": ["film", "long"], "weights": [1, 2]}},
    "else": {"cascade": ["film", "long"], "least": "auto"},
}


@given(TREES)
def test_a_tree_comes_back_from_its_json(tree: Node) -> None:
    assert parse_tree(json.loads(json.dumps(to_json(tree)))) == tree


@given(TREES, st.permutations(["one", "two", "three", "kind"]))
def test_members_can_be_renamed_and_back(tree: Node, names: list[str]) -> None:
    there = dict(zip(("one", "two", "three", "kind"), names, strict=True))
    back = {new: old for old, new in there.items()}
    renamed = rename_members(tree, there)
    assert rename_members(renamed, back) == tree
    assert list(members_of(renamed)) == [there[name] for name in members_of(tree)]


def test_a_tree_says_who_takes_part_and_how() -> None:
    tree = parse_tree(ROUTED)
    assert list(members_of(tree)) == ["kind", "film", "long", "film", "long"]
    assert deciders_of(tree) == {"film", "long"}
    assert mixed_members(tree) == {"film", "long"}
    assert not routes_by_language(tree)
    assert routes_by_language(parse_tree({"vote": ["film", {**ROUTED, "route": "language"}]}))
    assert labels_of(tree, LABELS) == {"bad", "good"}


def test_a_threshold_may_be_left_open_and_chosen_later() -> None:
    tree = parse_tree(ROUTED)
    assert has_open_thresholds(tree)
    assert to_json(tree) == ROUTED
    (cascade,) = (node for node in walk(tree) if isinstance(node, Cascade))
    with pytest.raises(TreeError, match="least: auto; expected a number by now"):
        _ = cascade.threshold
    chosen = transform(
        tree, lambda node: Cascade(node.parts, 0.7) if isinstance(node, Cascade) else node
    )
    assert not has_open_thresholds(chosen)
    assert to_json(chosen) == ROUTED | {"else": {"cascade": ["film", "long"], "least": 0.7}}


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (7, r"answer: 7; expected the name of a member, or an operator"),
        ({"mean": ["film"]}, r"answer: the keys \['mean'\]; expected one operator: average, vote"),
        ({"average": "film"}, r"answer.average: 'film'; expected a list of two or more"),
        ({"vote": ["film"]}, r"answer.vote: \['film'\]; expected a list of two or more"),
        ({"vote": ["film", 3]}, r"answer.vote\[1\]: 3; expected the name of a member"),
        (
            {"average": ["film", "long"], "weights": [1]},
            r"answer.weights: \[1\]; expected 2 numbers above 0",
        ),
        (
            {"average": ["film", "long"], "weights": [1, 0]},
            r"answer.weights: .*expected 2 numbers above 0",
        ),
        (
            {"average": ["film", "long"], "weights": [1, math.inf]},
            r"answer.weights: .*expected 2 numbers above 0",
        ),
        ({"cascade": ["film", "long"]}, r"answer.least: missing; expected it beside cascade"),
        ({"vote": ["film", "long"], "weight": [1, 2]}, r"answer.weight: unknown key; expected of"),
        ({"vote": ["film", "long"], "average": []}, r"answer: the keys .*; expected one operator"),
        ({"average": ["film", "long"], "weights": [1, 1e308]}, r"answer.weights: .*up to 1000000"),
        (
            {"cascade": ["film", "long"], "least": 1.5},
            r"answer.least: 1.5; expected a number between 0 and 1, or auto",
        ),
        ({"cascade": ["film", "long"], "least": True}, r"answer.least: True; expected a number"),
        ({"cascade": ["film", "long"], "least": math.nan}, r"answer.least: nan; expected"),
        (
            {"route": "language", "to": {"en": "film"}},
            r"answer.else: missing; expected it beside route",
        ),
        (
            {"route": "kind", "to": {"imdb": "film"}, "else": "film"},
            r"answer.route: 'kind'; expected language, or label_of and a member",
        ),
        (
            {"route": "language", "to": {}, "else": "film"},
            r"answer.to: \{\}; expected a node for one label or language, or more",
        ),
        (
            {"route": "language", "to": {"en": []}, "else": "film"},
            r"answer.to.en: \[\]; expected the name of a member",
        ),
    ],
)
def test_a_fault_is_one_line_with_its_place(tree: Any, reason: str) -> None:
    with pytest.raises(TreeError, match=f"^{reason}") as caught:
        parse_tree(tree)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ("flim", r"answer: 'flim'; expected one of the members \['film', 'kind', 'long'\]"),
        (
            {"average": ["film", {"vote": ["kind", "kind"]}]},
            r"answer.average\[1\]: the labels \['imdb', 'rotten'\]; expected those of the first",
        ),
        (
            {"route": {"label_of": "kind"}, "to": {"books": "film"}, "else": "film"},
            r"answer.to: \['books'\]; expected labels of kind: \['imdb', 'rotten'\]",
        ),
        (
            {"route": {"label_of": "sort"}, "to": {"imdb": "film"}, "else": "film"},
            r"answer.route.label_of: 'sort'; expected one of the members",
        ),
    ],
)
def test_labels_that_do_not_fit_are_one_line_with_their_place(tree: Any, reason: str) -> None:
    with pytest.raises(TreeError, match=f"^{reason}"):
        labels_of(parse_tree(tree), LABELS)


def test_labels_may_differ_where_answers_are_routed() -> None:
    routed = {"route": {"label_of": "kind"}, "to": {"imdb": "kind"}, "else": "film"}
    assert labels_of(parse_tree(routed), LABELS) == {"imdb", "rotten", "bad", "good"}


def test_a_tree_that_is_nested_too_deep_is_refused() -> None:
    tree: Any = "film"
    for _ in range(MAX_DEPTH):
        tree = {"vote": [tree, "film"]}
    assert parse_tree(tree)
    with pytest.raises(TreeError, match=f"more than {MAX_DEPTH} operators around it"):
        parse_tree({"vote": [tree, "film"]})
