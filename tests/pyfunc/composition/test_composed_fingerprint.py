"""What can change an answer of a composition changes its fingerprint, and names do not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfunc.composition.members import open_members
from pyfunc.composition.tree import (
    Average,
    Cascade,
    Node,
    Route,
    Vote,
    members_of,
    rename_members,
    transform,
    walk,
)
from pyfunc.fingerprint import fingerprint_pipeline
from pyfunc.spec import MemberSpec, PipelineSpec, Variant
from tests.pyfunc.composition.trees import TREES
from tests.support.builders import copy_package

NAMES = ("one", "two", "three", "kind")


@pytest.fixture(scope="module")
def artifact(folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a composition of all members."""
    artifact = tmp_path_factory.mktemp("artifact")
    copy_package(artifact)
    for name, folder in folders.items():
        copytree(folder, artifact / "members" / name / "classifier")
    return artifact


@pytest.fixture(scope="module")
def specs() -> dict[str, MemberSpec]:
    return {
        name: MemberSpec(f"models:/f/{number}", name, 16, (Variant("torch", "f32"),))
        for number, name in enumerate(NAMES, start=1)
    }


class Fingerprints:
    """Fingerprints of trees over the members, each opened once."""

    def __init__(self, artifact: Path, specs: Mapping[str, MemberSpec]) -> None:
        self._artifact, self._specs = artifact, specs
        members, _ = open_members(artifact, specs)
        self._engines = {name: member.classifier.engine for name, member in members.items()}

    def of(self, tree: Node, **changed: MemberSpec) -> str:
        used = dict.fromkeys(members_of(tree))
        specs = {name: {**self._specs, **changed}[name] for name in used}
        engines = {name: self._engines[name] for name in used}
        return fingerprint_pipeline(self._artifact, PipelineSpec("full", specs, tree), engines)


@pytest.fixture(scope="module")
def fingerprints(artifact: Path, specs: Mapping[str, MemberSpec]) -> Fingerprints:
    return Fingerprints(artifact, specs)


def other_leaf(node: Node) -> Node:
    """Return a node with one thing in it changed."""
    if isinstance(node, str):
        return NAMES[(NAMES.index(node) + 1) % 3]
    if isinstance(node, Average):
        return replace(node, weights=(node.weights[0] + 1, *node.weights[1:]))
    if isinstance(node, Cascade):
        return replace(node, least=0.42)
    if isinstance(node, Vote):
        return Average(node.parts, (1.0,) * len(node.parts))
    return replace(node, to=(("another", node.to[0][1]), *node.to[1:]))


@settings(deadline=None, max_examples=60)
@given(tree=TREES, data=st.data())
def test_every_leaf_and_operator_changes_the_fingerprint(
    fingerprints: Fingerprints, tree: Node, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(list(walk(tree))) - 1))
    count = iter(range(1_000))
    changed = transform(tree, lambda node: other_leaf(node) if next(count) == place else node)
    assert fingerprints.of(changed) != fingerprints.of(tree)


TREE = Route("kind", (("ticket", Cascade(("one", "two"), 0.7)),), "three")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [{"max_tokens": 17}, {"temperature": 0.5}, {"folder": "two"}])
def test_the_content_of_each_member_changes_the_fingerprint(
    fingerprints: Fingerprints, specs: Mapping[str, MemberSpec], name: str, change: dict[str, Any]
) -> None:
    changed = replace(specs[name], **change)
    differs = changed != specs[name]
    assert (fingerprints.of(TREE, **{name: changed}) != fingerprints.of(TREE)) == differs


def test_names_and_uris_of_members_do_not_change_the_fingerprint(
    artifact: Path, specs: Mapping[str, MemberSpec], fingerprints: Fingerprints
) -> None:
    names = {"one": "quick", "two": "film", "three": "long", "kind": "intent"}
    renamed = {
        names[name]: replace(spec, finetuned_model_uri="models:/f/99")
        for name, spec in specs.items()
    }
    other = Fingerprints(artifact, renamed)
    assert other.of(rename_members(TREE, names)) == fingerprints.of(TREE)
