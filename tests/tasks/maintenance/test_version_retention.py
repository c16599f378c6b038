"""No version that something refers to is freed, and what nothing holds is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.maintenance.types import Limits
from tasks.maintenance.version_retention import Version, reasons_to_keep

URIS = [f"models:/{name}/{number}" for name in ("p", "f") for number in range(1, 7)]
INSIDE = st.sets(st.sampled_from(URIS[6:]), min_size=1, max_size=2)


@st.composite
def registries(draw: st.DrawFn) -> tuple[list[Version], list[Version]]:
    def versions(name: str) -> list[Version]:
        return [
            Version(
                name=name,
                number=number,
                source=f"models:/m-{name}{number}",
                days=draw(st.sampled_from([0, 29, 31, 400])),
                has_alias=draw(st.integers(0, 5)) == 5,
                was_champion=draw(st.integers(0, 5)) == 5,
                finetuned_uris=tuple(draw(INSIDE)) if name == "p" else (),
            )
            for number in draw(st.sets(st.integers(1, 6)))
        ]

    return versions("p"), versions("f")


@settings(deadline=None, max_examples=300)
@given(
    registries(),
    st.sets(st.sampled_from([*URIS, "models:/m-p1", "models:/m-f2"])),
    st.sampled_from(["", "", "", "a doubt"]),
    st.integers(0, 3),
    st.sampled_from([0, 30]),
)
def test_nothing_that_is_referred_to_is_ever_freed(
    versions: tuple[list[Version], list[Version]],
    referred: set[str],
    doubt: str,
    keep: int,
    days: int,
) -> None:
    pipelines, finetuned = versions
    reasons = reasons_to_keep(
        pipelines,
        finetuned,
        referred=referred,
        uncertainty=doubt,
        limits=Limits(keep_versions=keep, older_than_days=days),
    )
    assert set(reasons) == {*pipelines, *finetuned}
    freed = [version for version, reason in reasons.items() if not reason]
    inside = {uri for p in pipelines if p not in freed for uri in p.finetuned_uris}
    for version in freed:
        assert not version.has_alias
        assert not version.was_champion
        assert not {version.uri, version.source} & {*referred, *inside}
        assert version.days >= days
        assert not doubt
        newer = [v for v in reasons if v.name == version.name and v.number > version.number]
        assert len(newer) >= keep
    # And what nothing holds is freed.
    for version in reasons.keys() - set(freed):
        same = [v.number for v in reasons if v.name == version.name]
        held = (
            version.has_alias
            or version.was_champion
            or {version.uri, version.source} & {*referred, *inside}
            or version.days < days
            or doubt
            or version.number in sorted(same)[-keep:] * bool(keep)
        )
        assert held
