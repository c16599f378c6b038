"""The sections of the report on compositions: cascades, and a route by language."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.measured import CascadeRace, RouteRace
from benchmarks.plan import CASCADE_MEMBERS, WHOLE
from benchmarks.tables import NOTHING, shown, table
from benchmarks.timing import Round, median_speedup


def cascade_lines(race: CascadeRace) -> Iterator[str]:
    """Yield the section of a cascade, or why the build refused it."""
    yield f"\n## Cascade of a static model and a transformer: {race.kind}\n"
    if race.check is None:
        yield f"The build refused it: {race.refused}."
        return
    yield (
        f"`least: auto` chose {race.threshold:.2f}. Rows/s are medians of {len(race.rounds)} "
        f"rounds over {race.rows:,} test rows that neither model was trained on, of at most "
        f"{race.max_tokens} tokens, through whole pipelines with language detection and an empty "
        "cache. The build measured the other figures: share and accuracy on the "
        f"{race.check.rows:,} of these rows that the threshold was not chosen on, and rows/s "
        "without languages and cache.\n"
    )
    header = ("answers", "rows/s", "× the transformer", "share", "accuracy", "rows/s in the build")
    yield from table(header, (_cascade_row(race, name) for name in (*CASCADE_MEMBERS, WHOLE)))


def route_lines(races: Sequence[RouteRace]) -> Iterator[str]:
    """Yield the section of a route by language, if it was measured."""
    if not races:
        return
    yield "\n## Route by language to a single member, and that member alone\n"
    yield (
        f"Medians of {len(races[0].rounds)} rounds over snippets, with an empty cache. Alone, "
        "languages are detected while the engine computes the same texts. A route needs them "
        "first: those of the first 2,048 texts before anything is computed, the others meanwhile.\n"
    )
    header = ("rows", "alone, rows/s", "routed, rows/s", "× alone")
    yield from table(header, map(_route_row, races))


def _cascade_row(race: CascadeRace, name: str) -> tuple[str, ...]:
    check, (quick, transformer) = race.check, CASCADE_MEMBERS
    if check is None:
        raise ValueError(f"{race.kind}: expected a cascade that was built")
    found = check if name == WHOLE else check.members[name]
    titles = {
        quick: "the static model alone",
        transformer: f"the transformer alone, {race.engine}",
    }
    return (
        titles.get(name, name),
        shown(_speed(race.rounds, name, race.rows)),
        shown(median_speedup(race.rounds, name, [transformer])),
        NOTHING if name == WHOLE else shown(check.members[name].share, "%"),
        shown(found.accuracy, "%"),
        shown(found.rows_per_second),
    )


def _route_row(race: RouteRace) -> tuple[str, ...]:
    return (
        f"{race.rows:,}",
        shown(_speed(race.rounds, race.member, race.rows)),
        shown(_speed(race.rounds, WHOLE, race.rows)),
        shown(median_speedup(race.rounds, WHOLE, [race.member])),
    )


def _speed(rounds: Sequence[Round], name: str, rows: int) -> float:
    return median(rows / seconds[name] for seconds in rounds)
