"""Compositions in turns with their members alone: a cascade, and a route by language."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.child import run_module
from benchmarks.engines import answering
from benchmarks.measured import CascadeRace, RouteRace
from benchmarks.plan import CASCADE_MEMBERS, MAX_TOKENS, WHOLE, Kind, Plan
from benchmarks.prepare import Prepared, fetch_artifact
from benchmarks.race import run_rounds
from benchmarks.texts import sample
from pyfunc.composition.tree import LANGUAGE, Cascade, Node, Route
from pyfunc.composition.tree_json import to_json
from pyfunc.spec import PipelineSpec
from tasks.composition.gate_rows import load_gate_rows

logger = logging.getLogger(__name__)

_OPEN = Cascade(CASCADE_MEMBERS, None)


def measure_cascade(
    kind: Kind, plan: Plan, prepared: Prepared, between: Callable[[], None]
) -> CascadeRace:
    """Build a cascade of a static model and a transformer, and time it beside each of them.

    They are timed on test rows that neither was trained on: a model is surer of those that it was.

    Args:
        kind: The kind of the texts.
        plan: The sizes.
        prepared: The registered models.
        between: Called before each turn.
    """
    built = _build_cascade(kind, plan, prepared)
    shape: dict[str, Any] = {
        "kind": kind,
        "max_tokens": MAX_TOKENS[kind],
        "refused": built["refused"],
        "check": built["check"],
    }
    if built["refused"]:
        logger.warning("%s: the build refused the cascade: %s", kind, built["refused"])
        return CascadeRace.model_validate(shape)
    scratch = prepared.scratch / f"cascade-{kind}"
    artifact = fetch_artifact(built["uri"], scratch / "artifact")
    spec = PipelineSpec.read(artifact)
    whole, (_, transformer) = spec.answer, CASCADE_MEMBERS
    trees: dict[str, Node] = {name: name for name in CASCADE_MEMBERS}
    trees[WHOLE] = whole
    peers = [answering(name, artifact, tree, scratch / name) for name, tree in trees.items()]
    texts = load_gate_rows(_OPEN, built["runs"]).texts
    seconds, _ = run_rounds(peers, texts, rounds=plan.rounds, between=between)
    threshold = whole.threshold if isinstance(whole, Cascade) else None
    measured = {
        "engine": str(spec.members[transformer].variants[0]),
        "rows": len(texts),
        "threshold": threshold,
        "rounds": tuple(seconds),
    }
    return CascadeRace.model_validate(shape | measured)


def measure_route(
    plan: Plan, prepared: Prepared, between: Callable[[], None]
) -> tuple[RouteRace, ...]:
    """Time a route by language to a single member beside that member, which needs no language.

    Args:
        plan: The sizes.
        prepared: The registered models.
        between: Called before each turn.
    """
    scratch = prepared.scratch / "route"
    (member,) = PipelineSpec.read(prepared.artifact).members
    trees: dict[str, Node] = {member: member, WHOLE: Route(LANGUAGE, (("en", member),), member)}
    peers = [
        answering(name, prepared.artifact, tree, scratch / name) for name, tree in trees.items()
    ]
    races = []
    for rows in plan.route_rows:
        texts = list(dict.fromkeys(sample("snippets", rows)))
        seconds, _ = run_rounds(peers, texts, rounds=plan.rounds, between=between)
        races.append(RouteRace(rows=len(texts), member=member, rounds=tuple(seconds)))
    return tuple(races)


def _build_cascade(kind: Kind, plan: Plan, prepared: Prepared) -> Mapping[str, Any]:
    """Return what the child says of the cascade: its URI, the training runs, and its check."""
    home, answer = prepared.home, prepared.home / "answer.json"
    # The gates of torch on a CPU take minutes for reviews, and the fastest engine is no torch.
    engine = {"engine": "openvino", "precision": "int8"} if prepared.device == "cpu" else {}
    order = {
        "transformer": plan.training_of(kind),
        "static": plan.static_training_of(kind),
        "engine": engine,
        "tree": to_json(_OPEN),
        "composition": str(home / f"cascade-{kind}.yaml"),
        "answer": str(answer),
    }
    run_module("benchmarks.drive_cascade", order, home / "logs" / f"cascade-{kind}.log")
    found: Mapping[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found
