"""What a part of a tree answered a text, as far as the answers of members show it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyfunc.composition.tree import (
    LANGUAGE,
    Average,
    Cascade,
    Node,
    Route,
    Vote,
    deciders_of,
    walk,
)

LabelAndScore = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Decided:
    """What is known of an answer.

    Attributes:
        label: Its label.
        score: Its score.
        decided_by: The member that decided.
        members: Label and score by each member that saw the text.
        language: The code of the text's language.
        labels: The labels of members, in the order of their outputs, as far as they are known.
    """

    label: str
    score: float
    decided_by: str
    members: Mapping[str, LabelAndScore]
    language: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def target_of(route: Route, decided: Decided) -> Node | None:
    """Return the part that a route leads a text to; None if its member did not see the text."""
    if route.by == LANGUAGE:
        key = decided.language
    elif route.by in decided.members:
        key, _ = decided.members[route.by]
    else:
        return None
    return dict(route.to).get(key, route.otherwise)


def known_answer(node: Node, decided: Decided) -> LabelAndScore | None:
    """Return the label and score that a part of the tree has for a text.

    A row has the score of each member for one label. So those of an average or a vote are known if
    there are two labels, or if all of its parts have the same one.

    Args:
        node: The part.
        decided: What is known of the answer of the whole.

    Returns:
        None if the answers of members do not show it.
    """
    if isinstance(node, str):
        return decided.members.get(node)
    if isinstance(node, Route):
        target = target_of(node, decided)
        return None if target is None else known_answer(target, decided)
    if isinstance(node, Cascade):
        return _answer_of_cascade(node, decided)
    return _answer_of_mix(node, decided)


def _answer_of_cascade(node: Cascade, decided: Decided) -> LabelAndScore | None:
    *earlier, last = node.parts
    for part in earlier:
        found = known_answer(part, decided)
        if found is None or not found[1] < node.threshold:
            return found
    return known_answer(last, decided)


def _answer_of_mix(node: Average | Vote, decided: Decided) -> LabelAndScore | None:
    found = [known_answer(part, decided) for part in node.parts]
    answers = [answer for answer in found if answer is not None]
    if len(answers) < len(found):
        return None
    given = list(dict.fromkeys(label for label, _ in answers))
    labels = decided.labels.get(min(deciders_of(node)), ())  # all of them have the same
    if len(labels) != 2:
        # The label with the most votes in a vote below may be none with the highest mean.
        is_sure = isinstance(node, Vote) or not any(isinstance(part, Vote) for part in walk(node))
        if len(given) > 1 or not is_sure:
            return None
        labels = given
    weights = node.weights if isinstance(node, Average) else (1.0,) * len(answers)
    votes = Counter(label for label, _ in answers) if isinstance(node, Vote) else Counter[str]()
    means = {label: _mean(label, answers, weights) for label in labels}
    label = max(means, key=lambda name: (votes[name], means[name]))
    return label, means[label]


def _mean(label: str, answers: Sequence[LabelAndScore], weights: Sequence[float]) -> float:
    """Return the weighted mean of the scores of a label; what has another one has the rest."""
    scores = [score if given == label else 1 - score for given, score in answers]
    pairs = zip(weights, scores, strict=True)
    return sum(weight * score for weight, score in pairs) / sum(weights)
