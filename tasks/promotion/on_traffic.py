"""Promote a challenger by a comparison on traffic, which may be repeated night after night."""

from collections.abc import Iterator

from tasks.comparison.types import ComparisonReport
from tasks.measures.paired import LEVEL, MARGIN, repeated_p_value
from tasks.promotion.aliases import TAKEN_BACK_TAG, set_champion, write_reason
from tasks.promotion.rules import MIN_COMPARED_ROWS, how_to_promote, label_difference
from tasks.promotion.types import BOUNDS, Bounds, PromotionDecision, Rule
from tasks.tracking import registry
from tasks.tracking.names import CHALLENGER, CHAMPION, RegisteredModel

_MARGINS: dict[Rule, float] = {"if_better": 0.0, "if_not_worse": MARGIN}


def decide_on_traffic(report: ComparisonReport, rule: Rule, bounds: Bounds) -> PromotionDecision:
    """Make the challenger of a comparison champion if its labelled rows show it to be good enough.

    Rows count that neither version was trained or validated on. The test is one that may be
    repeated: see `repeated_p_value`. The bounds can only block.

    Args:
        report: The comparison of a version with the champion.
        rule: `if_better` or `if_not_worse`.
        bounds: What blocks it all the same.

    Returns:
        The alias that the version has then, and why.
    """
    found = report.comparison
    present, other = map(RegisteredModel.from_uri, (found.present, found.other))
    candidate = registry.get_version(other.name, other.version)
    aliases = registry.get_aliases(other.name)
    champion = aliases.get(CHAMPION)
    if champion == other.version:
        return PromotionDecision(alias=CHAMPION, reason="it is champion already")
    if champion != present.version:
        reason = f"version {champion} is champion, and not {present.version} as in the comparison"
        return PromotionDecision(alias=None, reason=reason)
    if by := candidate.tags.get(TAKEN_BACK_TAG):
        reason = f"it was taken back for version {by}; {how_to_promote(candidate)}"
        return PromotionDecision(alias=None, reason=reason)
    passed, figures = _verdict(report, rule)
    blocked = list(_blocks(report, bounds))
    if difference := label_difference(candidate, registry.get_version(other.name, champion)):
        blocked.append(difference)
    reason = "; ".join([f"beside champion {champion} on traffic, {rule}: {figures}", *blocked])
    if passed and not blocked:
        set_champion(other.name, candidate, reason)
        return PromotionDecision(alias=CHAMPION, reason=reason)
    reason = f"{reason}; {how_to_promote(candidate)}"
    # An older version that is looked at once more does not take the alias from the newest.
    write_reason(other.name, candidate, reason)
    is_challenger = aliases.get(CHALLENGER) == other.version
    return PromotionDecision(alias=CHALLENGER if is_challenger else None, reason=reason)


def _verdict(report: ComparisonReport, rule: Rule) -> tuple[bool, str]:
    found = report.comparison
    if found.unknown_trainings:
        return False, "a training of before logged not all texts that it used; train again"
    rows = found.labels.rows if found.labels else 0
    if found.labels is None or rows < MIN_COMPARED_ROWS:
        known = (
            f" besides {found.known} that one was trained or validated on" if found.known else ""
        )
        return False, f"{rows} rows have a label{known}; expected {MIN_COMPARED_ROWS} or more"
    p_value = repeated_p_value(found.labels, _MARGINS[rule])
    accuracies = (
        f"accuracy {found.labels.accuracy_of_other:.4f} and {found.labels.accuracy_of_present:.4f} "
        f"on {rows} rows"
    )
    loss = f" of a loss of {100 * MARGIN:g} points or more" if _MARGINS[rule] else ""
    shown = f"{accuracies}, repeated_p_value{loss} = {p_value:.3g}; expected below {LEVEL}"
    return p_value < LEVEL, shown


def _blocks(report: ComparisonReport, bounds: Bounds) -> Iterator[str]:
    """Yield why a bound blocks the promotion."""
    found, speeds = report.comparison, report.speeds
    measured: dict[str, float | None] = {
        "max_flips": found.flip_share,
        "max_new_rejects": found.new_reject_share,
        "min_speed": speeds and speeds[1].rows_per_second / speeds[0].rows_per_second,
        "max_memory": speeds and speeds[1].peak_mib / speeds[0].peak_mib,
        "min_days": len(found.by_night),
    }
    for name, value in measured.items():
        bound, most = getattr(bounds, name), name.startswith("max")
        if bound == getattr(BOUNDS, name):
            continue
        expected = f"expected {bound:g} at {'most' if most else 'least'}"
        if value is None:
            yield f"{name}: nothing to measure it on; {expected}"
        elif value > bound if most else value < bound:
            yield f"{name}: {value:.4g}; {expected}"
