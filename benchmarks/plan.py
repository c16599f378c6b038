"""Sizes of the benchmark: rows, rounds, requests and parts."""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

Kind = Literal["snippets", "imdb"]
Precision = Literal["auto", "int8"]
Part = Literal["race", "flow", "growth", "cores", "serving", "budgets", "cascade", "route"]

KINDS: tuple[Kind, ...] = get_args(Kind)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PARTS: tuple[Part, ...] = get_args(Part)

SOURCES: dict[Kind, str] = {"snippets": "rotten_tomatoes", "imdb": "imdb"}
MAX_TOKENS: dict[Kind, int] = {"snippets": 128, "imdb": 256}

# Shares of the validation and test parts. The default ones of 25,000 reviews would take minutes
# to predict. Some 1,000 test rows leave a half to choose the threshold of a cascade, and a half to
# prove it.
_SPLITS: dict[Kind, dict[str, float]] = {
    "snippets": {},
    "imdb": {"validation_fraction": 0.02, "test_fraction": 0.04},
}

# The static model and the transformer of a cascade, and the peer that is all of a composition.
CASCADE_MEMBERS = ("quick", "film")
WHOLE = "the whole"

SEED = 20_240
ALL_ROWS = 33_530  # of both kinds


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of all parts; the defaults take about 40 minutes on two cores.

    Attributes:
        rounds: Turns of each comparison.
        race_rows: Texts of each kind for every peer; the slowest does 19 reviews a second.
        flow_rows: Snippets for the whole flow.
        flow_files: Number of their files.
        growth_rows: Rows of both kinds, at the same mix, in ascending order.
        core_rows: Snippets for one core and two.
        requests: Requests of each kind a round.
        budgets: Token budgets of a batch.
        training_rows: Texts of each kind for fine-tuning.
        taught_rows: Texts of each kind for a static model; 0 is all.
        cascades: Kinds of texts for a cascade.
        route_rows: Snippets for a route by language: those of one window, and of several.
        pipelines: The registered pipelines: kind of texts and precision.
        parts: The default parts.
    """

    rounds: int = 3
    race_rows: tuple[int, int] = (1_200, 240)
    flow_rows: int = 8_530
    flow_files: int = 8
    growth_rows: tuple[int, ...] = (1_000, 10_000, ALL_ROWS)
    core_rows: int = 1_500
    requests: int = 200
    budgets: tuple[int, ...] = (256, 512, 1_024, 2_048, 4_096, 8_192)
    training_rows: tuple[int, int] = (4_000, 2_000)
    taught_rows: tuple[int, int] = (0, 2_000)
    cascades: tuple[Kind, ...] = KINDS
    route_rows: tuple[int, ...] = (2_048, 6_144)
    pipelines: tuple[tuple[Kind, Precision], ...] = tuple(product(KINDS, PRECISIONS))
    parts: tuple[Part, ...] = PARTS

    def rows_of(self, kind: Kind) -> int:
        """Return the number of texts of a kind for every peer."""
        return self.race_rows[KINDS.index(kind)]

    def training_of(self, kind: Kind) -> dict[str, Any]:
        """Return the parameters of the training of a transformer on a kind of texts."""
        rows = self.training_rows[KINDS.index(kind)]
        return self._data_of(kind) | {"sample_size": rows, "min_steps": 0}

    def static_training_of(self, kind: Kind) -> dict[str, Any]:
        """Return the parameters of the training of a static model on the same data."""
        rows = self.taught_rows[KINDS.index(kind)]
        return self._data_of(kind) | {"sample_size": rows, "base_model": "static"}

    def _data_of(self, kind: Kind) -> dict[str, Any]:
        return {"source": SOURCES[kind], "max_tokens": MAX_TOKENS[kind], **_SPLITS[kind]}


QUICK = Plan(
    rounds=1,
    race_rows=(48, 8),
    flow_rows=160,
    growth_rows=(40, 160),
    core_rows=64,
    requests=20,
    budgets=(512, 2_048),
    training_rows=(64, 64),
    taught_rows=(64, 64),
    cascades=("snippets",),
    route_rows=(64, 160),
    pipelines=(("snippets", "auto"), ("snippets", "int8")),
    # Growth starts Prefect ten times.
    parts=("race", "budgets", "serving", "cores", "flow", "cascade", "route"),
)
