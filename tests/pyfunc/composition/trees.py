"""Random trees of compositions, and their naive evaluation: one text, one member after another."""

from collections import Counter
from collections.abc import Mapping

from hypothesis import strategies as st

from pyfunc.composition.tree import LANGUAGE, Average, Cascade, Node, Route, Vote
from pyfunc.contract import Language, Prediction
from tests.pyfunc.composition.conftest import KINDS

NAMES = ("one", "two", "three")

_leaves = st.sampled_from(NAMES)


def _operators(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    weights = st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=3, max_size=3)
    keys = {"kind": KINDS, LANGUAGE: ("en", "zh", "und")}
    return st.one_of(
        st.builds(lambda found, w: Average(found, tuple(w[: len(found)])), several, weights),
        st.builds(Vote, several),
        st.builds(Cascade, several, st.sampled_from([0.0, 0.55, 0.61, 0.7, 1.0])),
        st.sampled_from(["kind", LANGUAGE]).flatmap(
            lambda by: st.builds(
                lambda chosen, otherwise: Route(by, tuple(chosen.items()), otherwise),
                st.dictionaries(st.sampled_from(keys[by]), parts, min_size=1),
                parts,
            )
        ),
    )


TREES: st.SearchStrategy[Node] = st.recursive(_leaves, _operators, max_leaves=7)


def evaluate(
    node: Node, predictions: Mapping[str, Prediction], language: Language
) -> tuple[dict[str, float], str, str]:
    """Return the probabilities of a text, its label, and the member that decided."""
    if isinstance(node, str):
        found = predictions[node]
        assert found.scores is not None
        return found.scores, found.label, node
    if isinstance(node, Cascade):
        for part in node.parts[:-1]:
            answer = evaluate(part, predictions, language)
            if answer[0][answer[1]] >= node.threshold:
                return answer
        return evaluate(node.parts[-1], predictions, language)
    if isinstance(node, Route):
        key = language.code if node.by == LANGUAGE else predictions[node.by].label
        return evaluate(dict(node.to).get(key, node.otherwise), predictions, language)
    answers = [evaluate(part, predictions, language) for part in node.parts]
    weights = node.weights if isinstance(node, Average) else (1.0,) * len(answers)
    means = {
        label: sum(w * found[label] for w, (found, _, _) in zip(weights, answers, strict=True))
        / sum(weights)
        for label in answers[0][0]
    }
    votes = Counter(label for _, label, _ in answers)
    if isinstance(node, Vote):
        label = max(means, key=lambda one: (votes[one], means[one]))
        shares = [scores[label] if own == label else -1 for scores, own, _ in answers]
    else:
        label = max(means, key=lambda one: means[one])
        shares = [w * found[label] for w, (found, _, _) in zip(weights, answers, strict=True)]
    return means, label, answers[shares.index(max(shares))][2]
