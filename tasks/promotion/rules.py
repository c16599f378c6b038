"""The rules of promotion: whether a version becomes champion in place of the present one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion

from tasks.building.build_records import read_labels_of
from tasks.dataset.labels import label_key
from tasks.measures.paired import LEVEL, MARGIN, PairedCounts, mcnemar_p_value, paired_difference
from tasks.promotion.aliases import (
    REASON_TAG,
    REPLACED_TAG,
    promote_by_hand,
    set_challenger,
    set_champion,
)
from tasks.promotion.held_out_answers import TestRows, answer_rows, load_held_out_rows
from tasks.promotion.types import PromotionDecision, Rule
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import CHALLENGER, CHAMPION, RegisteredModel

# Of 200 rows, an accuracy has an error of three points; fewer decide nothing.
MIN_COMPARED_ROWS = 200

_CHAMPION_TAG, _RULE_TAG = "champion_version", "promotion_rule"

Verdict = tuple[bool, str]


class Judgement(NamedTuple):
    """What the answers of a version say beside those of the champion.

    Attributes:
        passed: Whether it may become champion.
        reason: The figures behind it.
        tags: The figures, which the version gets as tags.
    """

    passed: bool
    reason: str
    tags: Mapping[str, object] = {}


# Of a version and the champion.
Judge = Callable[[ModelVersion, ModelVersion], Judgement]


def decide_promotion(
    registered: RegisteredModel, rule: Rule, judge: Judge | None = None
) -> PromotionDecision:
    """Make a new version champion or challenger; write the metrics and the reason on it as tags.

    The first full pipeline becomes champion. A later one does if `rule` says so of its answers and
    the champion's to the test rows that neither was trained or validated on. It becomes challenger
    if not, if there are fewer than `MIN_COMPARED_ROWS` such rows, or if its labels differ. A plain
    pipeline returns bare labels and gets no alias, nor does a champion of before that another
    version replaced by hand. A version that is built again keeps the decision.

    Args:
        registered: The version.
        rule: When it becomes champion.
        judge: What decides in place of the test rows, unless the rule is `always` or `never`.
    """
    judge = judge or partial(_judge_test_rows, rule=rule)
    candidate = registry.get_version(registered.name, registered.version)
    if rule == "always":
        reason = "promoted as it was built, without a comparison"
        promote_by_hand(registered.uri, reason)
        return PromotionDecision(alias=CHAMPION, reason=reason)
    reason = candidate.tags.get(REASON_TAG, "")
    aliases = registry.get_aliases(registered.name)
    if aliases.get(CHAMPION) == registered.version:
        set_champion(registered.name, candidate, reason)  # completes an interrupted promotion
        return PromotionDecision(alias=CHAMPION, reason=reason)
    champion = aliases.get(CHAMPION)
    known = {_CHAMPION_TAG: str(champion), _RULE_TAG: rule}
    if aliases.get(CHALLENGER) == registered.version and known.items() <= candidate.tags.items():
        return PromotionDecision(alias=CHALLENGER, reason=reason)
    if candidate.tags["kind"] == "plain":
        return PromotionDecision(alias=None, reason="a plain pipeline answers with bare labels")
    if by := candidate.tags.get(REPLACED_TAG):
        reason = f"version {by} replaced it as champion by hand; {how_to_promote(candidate)}"
        return PromotionDecision(alias=None, reason=reason)
    decision = _compare(candidate, champion, rule, judge)
    # Another version may have been promoted by hand during the minutes of a comparison.
    while (current := registry.get_aliases(registered.name).get(CHAMPION)) != champion:
        champion = current
        decision = _compare(candidate, champion, rule, judge)
    if decision.alias == CHAMPION:
        set_champion(registered.name, candidate, decision.reason)
    else:
        set_challenger(registered.name, candidate, decision.reason)
    return decision


def is_better(counts: PairedCounts) -> Verdict:
    """Return whether the other version is better than the present one, and the figures."""
    p_value = mcnemar_p_value(counts)
    only = f"{counts.only_other} rows are right with it alone and {counts.only_present} without"
    return p_value < LEVEL, f"{only}, p = {p_value:.3g}; expected below {LEVEL}"


def is_not_worse(counts: PairedCounts) -> Verdict:
    """Return whether the accuracy is lower by less than `MARGIN`, and the bound of it."""
    low = paired_difference(counts).low
    bound = f"the difference is {100 * low:+.2f} points or more with {1 - LEVEL:.0%} confidence"
    return low > -MARGIN, f"{bound}; expected more than {-100 * MARGIN:.1f}"


_VERDICTS: dict[Rule, Callable[[PairedCounts], Verdict]] = {
    "if_better": is_better,
    "if_not_worse": is_not_worse,
}


def _compare(
    candidate: ModelVersion, current: int | None, rule: Rule, judge: Judge
) -> PromotionDecision:
    if rule == "never":
        reason = f"promotion is never; {how_to_promote(candidate)}"
        return PromotionDecision(alias=CHALLENGER, reason=reason)
    if current is None:
        return PromotionDecision(alias=CHAMPION, reason="the first version")
    champion = registry.get_version(candidate.name, current)
    if difference := label_difference(candidate, champion):
        reason = f"{difference}; {how_to_promote(candidate)}"
        return PromotionDecision(alias=CHALLENGER, reason=reason)
    found = judge(candidate, champion)
    if found.tags:
        tags = {**found.tags, _CHAMPION_TAG: current, _RULE_TAG: rule}
        for name, value in tags.items():
            connect().set_model_version_tag(candidate.name, candidate.version, name, str(value))
    return PromotionDecision(alias=CHAMPION if found.passed else CHALLENGER, reason=found.reason)


def too_few(rows: TestRows, champion: ModelVersion) -> str:
    """Return why test rows are too few to compare two versions; empty if they are enough."""
    if len(rows.held_out) >= MIN_COMPARED_ROWS:
        return ""
    return (
        f"{len(rows.held_out)} of {rows.all} test rows are new to it and to champion "
        f"{champion.version}; expected {MIN_COMPARED_ROWS} or more to compare them"
    )


def _judge_test_rows(candidate: ModelVersion, champion: ModelVersion, *, rule: Rule) -> Judgement:
    rows = load_held_out_rows(candidate, champion)
    if problem := too_few(rows, champion):
        return Judgement(passed=False, reason=f"{problem}; {how_to_promote(candidate)}")
    counts, flips = answer_rows(rows.held_out, candidate, champion)
    passed, figures = _VERDICTS[rule](counts)
    tags = {
        "accuracy": counts.accuracy_of_other,
        "champion_accuracy": counts.accuracy_of_present,
        "p_value": mcnemar_p_value(counts),
        "flips": flips,
        "test_rows": counts.rows,
    }
    reason = (
        f"accuracy {counts.accuracy_of_other:.4f}, and {counts.accuracy_of_present:.4f} of "
        f"champion {champion.version}, on {counts.rows} test rows; {rule}: {figures}"
    )
    return Judgement(passed=passed, reason=reason, tags=tags)


def how_to_promote(version: ModelVersion) -> str:
    """Return the command that promotes a version by hand."""
    return f"promote it with python -m flows.promote_pipeline --version {version.version}"


def label_difference(candidate: ModelVersion, champion: ModelVersion) -> str:
    """Return how many labels are gone and new, with an example of each; empty for equal ones.

    Labels are compared by their normal forms, so that 1 of one version is 1.0 of another.
    """
    now, former = (
        {label_key(label): label for label in read_labels_of(version)}
        for version in (candidate, champion)
    )
    found = (("without", former, now), ("with", now, former))
    counted = [
        f"{word} {len(rest)}, such as {these[min(rest)]!r}"
        for word, these, others in found
        if (rest := these.keys() - others.keys())
    ]
    if not counted:
        return ""
    return f"other labels than champion {champion.version}: {' and '.join(counted)}"
