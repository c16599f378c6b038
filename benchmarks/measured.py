"""What a run measured; `results.json` is this, and tables and plots are made of it alone."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.machine import Machine
from benchmarks.plan import Kind


class Record(BaseModel):
    """A part of the results: no field is changed, none is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Gate(BaseModel):
    """What the build of a pipeline found of an engine; the build may tell more.

    Attributes:
        engine: The engine.
        precision: Its number format.
        rows: Rows that it was tried on.
        agreement: Share of them with the label of torch in f32.
        accuracy: Share of them with their true label.
        reason: Why it was left out, or an empty string.
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    precision: str
    rows: int = 0
    agreement: float | None = None
    accuracy: float | None = None
    reason: str = ""


class Race(Record):
    """All peers on the same texts of one kind.

    Attributes:
        kind: Which texts.
        max_tokens: Longer texts are cut to this many tokens.
        rows: How many texts.
        tokens: Those of all texts, as they are read, without padding.
        model_flops: Operations of all texts, if every token goes through every layer.
        executed_flops: The same, if the last layer is computed for the first token alone.
        families: What each peer is compared as, in the order of the tables.
        main: Name of the engine that answers by default: bf16, where that passed its check.
        main_pyfunc: Name of the registered pipeline with that engine.
        rounds: Seconds of each peer, round by round.
        labels_differing: Texts whose label is not that of torch in f32.
        skipped: Why a peer did not run.
    """

    kind: Kind
    max_tokens: int
    rows: int
    tokens: int
    model_flops: int
    executed_flops: int
    families: dict[str, str]
    main: str
    main_pyfunc: str
    rounds: tuple[dict[str, float], ...]
    labels_differing: dict[str, int]
    skipped: dict[str, str]

    def names(self, *families: str) -> list[str]:
        """Return the peers of some families."""
        return [name for name, family in self.families.items() if family in families]

    def rows_per_second(self, name: str) -> list[float]:
        """Return a peer's speed, round by round."""
        return [self.rows / seconds[name] for seconds in self.rounds if name in seconds]


class FlowRun(Record):
    """The whole flow in a process of its own; all times are seconds.

    Attributes:
        rows: Rows of the input.
        rows_done: Rows that are published at the end.
        model_calls: Texts that went through the model.
        cache_hits: Rows that another row or run had paid for.
        imports: From the process's start until all modules are loaded.
        server_start: Start of Prefect's temporary server.
        model_load: The one load of the registered pipeline.
        flow: The flow, from its call to its return, with that model loaded.
        shards: From the first shard's start to the last one's end; none if all were skipped.
        exit: From the flow's return to the end of the process.
        peak_mib: The most memory that the process had, in MiB.
    """

    rows: int
    rows_done: int
    model_calls: int
    cache_hits: int
    imports: float
    server_start: float
    model_load: float
    flow: float
    shards: float | None
    exit: float
    peak_mib: float

    @property
    def beyond_start(self) -> float:
        """Seconds of all but imports, Prefect's server and the end of the process."""
        return self.model_load + self.flow


class FlowRound(Record):
    """The flow cold, warm and resumed, beside the engine alone on the same texts."""

    engine: float
    cold: FlowRun
    warm: FlowRun
    resumed: FlowRun


class GrowthRound(Record):
    """The flow on ever more rows with an empty cache; then on the most again, warm and resumed."""

    cold: tuple[FlowRun, ...]
    warm: FlowRun
    resumed: FlowRun


class Cores(Record):
    """The engine alone on the same texts, bound to one core and to two: seconds by round."""

    rows: int
    rounds: tuple[dict[str, float], ...]


class ServingRound(Record):
    """Milliseconds of each request of one client, and of the engine for the computed texts.

    Attributes:
        nothing: Of a model that does nothing.
        cached: Texts whose answers are stored.
        computed: Texts that are new.
        engine_in_turns: The engine alone, a text after each of the requests above.
        engine: The engine alone, text after text.
    """

    nothing: tuple[float, ...]
    cached: tuple[float, ...]
    computed: tuple[float, ...]
    engine_in_turns: tuple[float, ...]
    engine: tuple[float, ...]


class Budgets(Record):
    """Rows/s of each engine by the token budget of a batch."""

    kind: Kind
    rows: int
    rows_per_second: dict[str, dict[int, float]]


class Results(Record):
    """All that a run measured; a part that did not run is empty.

    Attributes:
        machine: Where.
        device: `cpu` or `cuda`.
        quick: Whether it was a short run, whose figures mean nothing.
        seconds: How long the run took.
        gates: What the build of the pipelines found of each engine.
        peak_gflops: Samples of the bf16 matrix peak.
    """

    machine: Machine
    device: str
    quick: bool
    seconds: float = 0.0
    gates: tuple[Gate, ...] = ()
    peak_gflops: tuple[float, ...] = ()
    races: tuple[Race, ...] = ()
    flow: tuple[FlowRound, ...] = ()
    growth: tuple[GrowthRound, ...] = ()
    cores: Cores | None = None
    serving: tuple[ServingRound, ...] = ()
    budgets: tuple[Budgets, ...] = ()

    @property
    def peak(self) -> float | None:
        """The bf16 matrix peak in GFLOP/s: the best of all samples."""
        return max(self.peak_gflops, default=None)

    def write(self, folder: Path) -> None:
        """Write `results.json` into `folder`."""
        text = self.model_dump_json(indent=1) + "\n"
        (folder / "results.json").write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """Read `results.json` from `folder`."""
        return cls.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))
