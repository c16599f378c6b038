"""Schema of `results.json`, the only source of the benchmark's tables and plots."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.machine import Machine
from benchmarks.plan import Kind
from benchmarks.record import Record
from benchmarks.serving.measured import Comparison
from tasks.composition.types import CompositionCheck


class Gate(BaseModel):
    """The quality gate of an engine in the build of a pipeline.

    Attributes:
        engine: The engine.
        precision: Its number format.
        rows: Number of test rows.
        agreement: Share of them with the label of torch in f32.
        accuracy: Share of them with their true label.
        reason: Why the engine failed, or an empty string.
    """

    # Unknown fields are ignored.
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
        max_tokens: Longer texts are truncated to this many tokens.
        rows: Number of texts.
        tokens: Tokens of all texts after truncation, without padding.
        model_flops: FLOPs of all texts if every token goes through every layer.
        executed_flops: The same if the last layer is computed for the first token alone.
        families: Family of each peer, in the order of the tables.
        main: Name of the default engine: bf16 if it passed its quality gate.
        main_pyfunc: Name of the registered pipeline with that engine.
        rounds: Seconds of each peer, round by round.
        labels_differing: Texts with another label than that of torch in f32.
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
    """The flow in a child process; times in seconds.

    Attributes:
        rows: Rows of the input.
        rows_done: Rows published at the end.
        model_calls: Texts that the model computed.
        cache_hits: Rows answered from the cache or an equal row.
        imports: From the start of the process until all modules are loaded.
        server_start: Start of Prefect's temporary server.
        model_load: Load of the registered pipeline.
        flow: From the call of the flow to its return.
        shards: From the first shard's start to the last one's end; None if all were skipped.
        exit: From the flow's return to the end of the process.
        peak_mib: Peak memory of the process in MiB.
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
    """The flow cold, warm and resumed, and seconds of the engine alone on the same texts."""

    engine: float
    cold: FlowRun
    warm: FlowRun
    resumed: FlowRun


class GrowthRound(Record):
    """The flow on growing inputs with an empty cache, then on the largest, warm and resumed."""

    cold: tuple[FlowRun, ...]
    warm: FlowRun
    resumed: FlowRun


class Cores(Record):
    """The engine alone on the same texts, bound to one core and to two: seconds by round."""

    rows: int
    rounds: tuple[dict[str, float], ...]


class ServingRound(Record):
    """Milliseconds of each request of one client, and of the engine alone.

    Attributes:
        nothing: Requests to a model that does nothing.
        cached: Texts with a cached answer.
        computed: New texts.
        engine_in_turns: The engine alone, in turns with the requests above.
        engine: The engine alone, without pauses.
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


class CascadeRace(Record):
    """A cascade of a static model and a transformer, in turns with each of them alone.

    Attributes:
        kind: Which texts.
        max_tokens: Longer texts are truncated to this many tokens.
        refused: Why the build refused the cascade, or an empty string.
        check: What the build measured, on test rows that did not choose the threshold.
        engine: Engine and precision of the transformer.
        rows: Number of the timed texts: all test rows of the build.
        threshold: The least score of an answer of the static model.
        rounds: Seconds of the members and of the whole, round by round.
    """

    kind: Kind
    max_tokens: int
    refused: str
    check: CompositionCheck | None
    engine: str = ""
    rows: int = 0
    threshold: float | None = None
    rounds: tuple[dict[str, float], ...] = ()


class RouteRace(Record):
    """A route by language to a single member, in turns with that member alone.

    Attributes:
        rows: Number of the texts.
        member: The name of the member.
        rounds: Seconds of the member and of the whole, round by round.
    """

    rows: int
    member: str
    rounds: tuple[dict[str, float], ...]


class Results(Record):
    """The results of a run; a part that did not run is empty.

    Attributes:
        machine: The machine.
        device: `cpu` or `cuda`.
        quick: Whether it was a short run, whose numbers are not representative.
        seconds: Duration of the run.
        gates: Quality gates of the engines in the build.
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
    served: tuple[Comparison, ...] = ()
    budgets: tuple[Budgets, ...] = ()
    cascades: tuple[CascadeRace, ...] = ()
    routes: tuple[RouteRace, ...] = ()

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
