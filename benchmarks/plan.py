"""Sizes of the benchmark: rows, rounds, requests and parts."""

from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, get_args

from benchmarks.serving.names import BEFORE, CLASSIFY, LITSERVE, MLFLOW, SERVERS, TRANSFORMERS

Kind = Literal["snippets", "imdb"]
Precision = Literal["auto", "int8"]
ServedPrecision = Literal["f32", "auto", "int8"]
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

_WITHOUT_TRANSFORMERS = tuple(name for name in SERVERS if name != TRANSFORMERS)

SEED = 20_240
ALL_ROWS = 33_530  # of both kinds


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A version that is served, by which servers, and which of them get an open loop.

    Attributes:
        kind: The texts.
        precision: The precision that its build asked for.
        closed: The servers under closed loops.
        open: The servers under open loops.
    """

    kind: Kind
    precision: ServedPrecision
    closed: tuple[str, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The sizes of the loads on servers; the defaults take about 40 minutes on two cores.

    Attributes:
        models: The served versions.
        rounds: Turns of each closed loop.
        closed_seconds: Duration of a closed loop.
        open_seconds: Duration of an open loop.
        warm_up: Seconds before each that are not counted.
        clients: Numbers of clients of the closed loops with distinct texts. The last one measures
            the capacity of a server.
        shares: Rates of the open loops, as shares of that capacity.
        repeated: Number of texts that repeated ones are drawn from, by 8 clients.
        engine_rows: Texts for the engine alone, by kind.
        cores: Cores that servers and load generator share.
    """

    # Transformers has f32 alone, and int8 is faster on each machine that has a CPU.
    models: tuple[ServedModel, ...] = (
        ServedModel("snippets", "f32", SERVERS, (CLASSIFY,)),
        ServedModel("snippets", "int8", _WITHOUT_TRANSFORMERS, (BEFORE, CLASSIFY, LITSERVE)),
        ServedModel("imdb", "int8", (BEFORE, MLFLOW, CLASSIFY, LITSERVE), (CLASSIFY,)),
    )
    rounds: int = 2
    closed_seconds: float = 6.0
    open_seconds: float = 60.0
    warm_up: float = 1.0
    clients: tuple[int, ...] = (1, 8, 32)
    shares: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9)
    repeated: int = 200
    engine_rows: tuple[int, int] = (3_000, 400)
    cores: int = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of all parts; the defaults take about 80 minutes on two cores.

    Attributes:
        rounds: Turns of each comparison.
        race_rows: Texts of each kind for every peer; the slowest does 19 reviews a second.
        flow_rows: Snippets for the whole flow.
        flow_files: Number of their files.
        growth_rows: Rows of both kinds, at the same mix, in ascending order.
        core_rows: Snippets for one core and two.
        requests: Requests of each kind a round.
        load: The loads on servers.
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
    load: LoadPlan = field(default_factory=LoadPlan)
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
    load=LoadPlan(
        models=(ServedModel("snippets", "int8", SERVERS, (CLASSIFY,)),),
        rounds=1,
        closed_seconds=1.0,
        open_seconds=2.0,
        warm_up=0.5,
        clients=(1, 8),
        shares=(0.5, 0.75),
        repeated=20,
        engine_rows=(64, 64),
    ),
    budgets=(512, 2_048),
    training_rows=(64, 64),
    taught_rows=(64, 64),
    cascades=("snippets",),
    route_rows=(64, 160),
    pipelines=(("snippets", "auto"), ("snippets", "int8")),
    # Growth starts Prefect ten times.
    parts=("race", "budgets", "serving", "cores", "flow", "cascade", "route"),
)
