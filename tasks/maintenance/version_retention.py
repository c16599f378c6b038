"""The retention rule of registered model versions: which stay, and why; without any I/O."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.maintenance.types import YOUNGER, Limits
from tasks.tracking.names import version_uri

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
        days: Since its registration.
        has_alias: Whether an alias names it.
        was_champion: Whether it is the previous champion.
        finetuned_uris: The fine-tuned versions inside a pipeline; none for others.
    """

    name: str
    number: int
    source: str
    days: float
    has_alias: bool = False
    was_champion: bool = False
    finetuned_uris: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """The URI that loads it."""
        return version_uri(self.name, self.number)


def reasons_to_keep(
    pipelines: Sequence[Version],
    finetuned: Sequence[Version],
    *,
    referred: Collection[str],
    uncertainty: str,
    limits: Limits,
) -> dict[Version, str]:
    """Return why each version stays; the reason is empty if it is superseded.

    Args:
        pipelines: All versions of the pipeline.
        finetuned: All versions of the fine-tuned model.
        referred: URIs that records, rows and other registered models name.
        uncertainty: Why `referred` may be incomplete; if not empty, every version stays.
        limits: How many of the newest stay, and the age below which all do.
    """
    reasons = _reasons(pipelines, referred, uncertainty, limits)
    kept = (version for version, reason in reasons.items() if reason)
    inside = {uri for version in kept for uri in version.finetuned_uris}
    for version, reason in _reasons(finetuned, referred, uncertainty, limits).items():
        reasons[version] = reason or (INSIDE if version.uri in inside else "")
    return reasons


def _reasons(
    versions: Sequence[Version], referred: Collection[str], uncertainty: str, limits: Limits
) -> dict[Version, str]:
    numbers = sorted((version.number for version in versions), reverse=True)
    newest = set(numbers[: limits.keep_versions])
    reasons = {}
    for version in versions:
        rules = {
            HAS_ALIAS: version.has_alias,
            WAS_CHAMPION: version.was_champion,
            NEWEST: version.number in newest,
            REFERRED_TO: version.uri in referred or version.source in referred,
            NOT_OURS: not version.source.startswith("models:/m-"),
            YOUNGER: limits.is_too_young(version.days),
            uncertainty: bool(uncertainty),
        }
        reasons[version] = next((reason for reason, holds in rules.items() if holds), "")
    return reasons
