"""Choose the thresholds of cascades, each on the rows that reach it."""

import logging
from dataclasses import replace

from pyfunc.composition.tree import Cascade, Node, placed_nodes, transform
from tasks.common.errors import ModelError
from tasks.composition.gate_rows import Truth
from tasks.composition.known_decisions import KnownDecisions

logger = logging.getLogger(__name__)

# Part of the key of a build: under rule 1, all rows chose. Raise it when another threshold results.
THRESHOLD_RULE = 2
MIN_CHOOSING_ROWS = 100
MAX_ACCURACY_LOSS = 0.005

_THRESHOLDS = tuple(number / 100 for number in range(101))


def choose_thresholds(
    answer: Node, decisions: KnownDecisions, chooses: Truth, file: str = "composition"
) -> Node:
    """Return the tree with a threshold for each cascade that has none, inner ones first.

    It is the lowest that costs no more accuracy than the gate allows, of the most accurate one:
    where the parts err on different rows, that is more accurate than each of them.

    Args:
        answer: The tree.
        decisions: Those of all trees over its members.
        chooses: The rows to choose with; of them count those that reach the cascade.
        file: The composition file, for the error.

    Raises:
        ModelError: If fewer than `MIN_CHOOSING_ROWS` of them reach a cascade.
    """
    while open_ones := [
        (place, node)
        for place, node in placed_nodes(answer)
        if isinstance(node, Cascade) and node.least is None
    ]:
        place, cascade = open_ones[-1]  # no other is below it
        rows = chooses & decisions.reaching(answer, cascade)
        if rows.sum() < MIN_CHOOSING_ROWS:
            raise ModelError(
                f"{file}: {place}.least: auto needs {MIN_CHOOSING_ROWS} test rows that reach it, "
                f"in the half that chooses, and has {rows.sum()}; expected a number"
            )
        least = _choose(cascade, decisions, rows)
        logger.info("%s.least: %.2f, chosen on %d rows", place, least, rows.sum())
        chosen = replace(cascade, least=least)
        answer = transform(answer, lambda part: chosen if part == cascade else part)  # noqa: B023
    return answer


def _choose(cascade: Cascade, decisions: KnownDecisions, rows: Truth) -> float:
    found = {
        least: float(decisions.are_right(replace(cascade, least=least))[rows].mean())
        for least in _THRESHOLDS
    }
    most = max(found.values())
    return min(least for least, accuracy in found.items() if accuracy >= most - MAX_ACCURACY_LOSS)
