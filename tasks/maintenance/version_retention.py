"""Which registered versions nobody needs any more: the rule, apart from where it is looked up."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.maintenance.types import YOUNGER, Limits

HAS_ALIAS = "named by an alias"
WAS_CHAMPION = "the champion before"
NEWEST = "among the newest"
REFERRED_TO = "referred to by a record or another registered model"
INSIDE = "inside of a pipeline that stays"
NOT_OURS = "not logged by Millstream"


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        name: The registered model.
        number: Its number.
        source: The logged model, as `models:/m-…`.
        days: Since it was registered.
        has_alias: Whether an alias names it.
        was_champion: Whether it was champion before the present one.
        finetuned_uri: The fine-tuned version inside of a pipeline; empty for others.
    """

    name: str
    number: int
    source: str
    days: float
    has_alias: bool = False
    was_champion: bool = False
    finetuned_uri: str = ""

    @property
    def uri(self) -> str:
        """The URI that loads it."""
        return f"models:/{self.name}/{self.number}"


def reasons_to_keep(
    pipelines: Sequence[Version],
    finetuned: Sequence[Version],
    *,
    referred: Collection[str],
    doubt: str,
    limits: Limits,
) -> dict[Version, str]:
    """Return why each version stays; the reason is empty if it is superseded.

    Args:
        pipelines: All versions of the pipeline.
        finetuned: All versions of the fine-tuned model.
        referred: URIs that records, rows and other registered models name.
        doubt: Why that may not be all; then every version stays.
        limits: How many stay, and how old they may be.
    """
    reasons = _reasons(pipelines, referred, doubt, limits)
    inside = {version.finetuned_uri for version, reason in reasons.items() if reason}
    for version, reason in _reasons(finetuned, referred, doubt, limits).items():
        reasons[version] = reason or (INSIDE if version.uri in inside else "")
    return reasons


def _reasons(
    versions: Sequence[Version], referred: Collection[str], doubt: str, limits: Limits
) -> dict[Version, str]:
    numbers = sorted((version.number for version in versions), reverse=True)
    newest = set(numbers[: limits.keep_versions])
    return {version: _reason(version, newest, referred, doubt, limits) for version in versions}


def _reason(
    version: Version,
    newest: Collection[int],
    referred: Collection[str],
    doubt: str,
    limits: Limits,
) -> str:
    reasons = {
        HAS_ALIAS: version.has_alias,
        WAS_CHAMPION: version.was_champion,
        NEWEST: version.number in newest,
        REFERRED_TO: version.uri in referred or version.source in referred,
        NOT_OURS: not version.source.startswith("models:/m-"),
        YOUNGER: limits.spare(version.days),
        doubt: bool(doubt),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
