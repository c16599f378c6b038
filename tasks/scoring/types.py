"""Types of a scoring run: flow parameters, and the records that pass between its tasks."""

import operator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pyfunc.batching import DEFAULT_BATCH_TOKENS, MAX_BATCH_TOKENS
from pyfunc.business.spec import ColumnType
from tasks.arms.types import ScoringModel
from tasks.common.parameter_types import FolderPath, FrozenModel, Probability, about
from tasks.delivery.types import DeliverRejectsTo, DeliverTo, Delivery, DeliveryTarget
from tasks.ingestion.text_format import AS_FOUND, ReadOptions
from tasks.output.place import output_place
from tasks.output.records import OutputFormat, Shard, ShardRecord
from tasks.output.row_parameters import RowParameters
from tasks.output.traffic_split import SplitChoice, SplitKey
from tasks.tracking.names import CHAMPION_URI

OutputFolder = Annotated[
    FolderPath,
    output_place("output_dir"),
    about("Folder that gets predictions/, rejected/, records/ and manifest.json."),
]
ModelUri = Annotated[
    str,
    about("The version of inference_pipeline_model to score with: a number, an alias, or a URI."),
]
# Memory grows with it, and nothing is gained long before.
ShardRows = Annotated[
    int, about("Rows of a shard at most; a larger file is cut into several.", ge=1, le=1_000_000)
]
UseCache = Annotated[
    bool,
    about(
        "Whether answers are looked up in the prediction cache, shared by equal rows, and "
        "stored there."
    ),
]
SettleSeconds = Annotated[
    int,
    about(
        "Files that changed within the last so many seconds are left for the next run, since "
        "someone may still be writing them.",
        ge=0,
    ),
]
AllowEmpty = Annotated[bool, about("Whether a folder or pattern that brings no file is no error.")]
Resume = Annotated[
    bool,
    about("Whether shards that are done, from the same input, model and parameters, are skipped."),
]
OnlyFailed = Annotated[
    bool,
    about("Whether to score just the shards that failed in the run before, or have rejected rows."),
]
DryRun = Annotated[
    bool, about("Whether to read the input and report what a run would do, with no output at all.")
]
MaxFailedShards = Annotated[
    int, about("Shards that may fail before the run counts as failed.", ge=0)
]
MaxRejectedFraction = Annotated[
    Probability, about("Share of the rows that may be rejected before it does.")
]
BatchTokens = Annotated[
    int,
    about(
        "Padded tokens that go through the transformer at once, at most.",
        ge=1,
        le=MAX_BATCH_TOKENS,
    ),
]
Workers = Annotated[
    int,
    about(
        "Shards that are scored at the same time; 0 takes one a core, up to eight.",
        ge=0,
        le=64,
    ),
]
Format = Annotated[
    OutputFormat,
    about(
        "What the predictions can be read as. The Parquet files are always there; the others add "
        "a copy of each. csv-semicolon is for Excel where the decimal sign is a comma."
    ),
]
ReportExamples = Annotated[
    int,
    about(
        "Rows quoted in the report: rejected ones for each reason, scored ones for each label; "
        "0 quotes none.",
        ge=0,
        le=100,
    ),
]
AttachMib = Annotated[
    int,
    about(
        "MiB of predictions that are attached to the run in MLflow at most, where a browser "
        "downloads them; 0 attaches none.",
        ge=0,
        le=4_096,
    ),
]


WhileChampion = Annotated[
    bool,
    about(
        "Whether the run ends at once, as cancelled, if model_uri is not champion any more: a "
        "re-scoring waits while another version may be promoted."
    ),
]


class ScoringOptions(FrozenModel):
    """Defaults of a scoring run: parameters of the flow score-shards."""

    model_uri: ModelUri = CHAMPION_URI
    split: SplitChoice = ""
    split_key: SplitKey = ""
    shard_rows: ShardRows = 2_000
    use_cache: UseCache = True
    settle_seconds: SettleSeconds = 0
    allow_empty: AllowEmpty = False
    resume: Resume = True
    only_failed: OnlyFailed = False
    dry_run: DryRun = False
    max_failed_shards: MaxFailedShards = 0
    max_rejected_fraction: MaxRejectedFraction = 1.0
    batch_tokens: BatchTokens = DEFAULT_BATCH_TOKENS
    workers: Workers = 0
    output_format: Format = "parquet"
    deliver_to: DeliverTo = ""
    deliver_rejects_to: DeliverRejectsTo = ""
    report_examples: ReportExamples = 3
    attach_mib: AttachMib = 64
    while_champion: WhileChampion = False


OPTIONS = ScoringOptions()

THREADS = "threads"  # of this process


class FailureLimits(FrozenModel):
    """What may go wrong before a run counts as failed; a dry run asks the same."""

    max_failed_shards: MaxFailedShards = OPTIONS.max_failed_shards
    max_rejected_fraction: MaxRejectedFraction = OPTIONS.max_rejected_fraction

    def exceeded(
        self, *, failed: int, rows: int, rejected: int
    ) -> Literal["failed", "rejected"] | None:
        """Return what is more than may be, or None.

        Args:
            failed: Shards, and files that cannot be read, that are not published.
            rows: Rows of the shards that are published.
            rejected: Those of them that are rejected.
        """
        if failed > self.max_failed_shards:
            return "failed"
        # A product would not do: 0.29 * 100 is less than 29.
        if rows and rejected / rows > self.max_rejected_fraction:
            return "rejected"
        return None


class ScoringParameters(FrozenModel):
    """How a run scores.

    Attributes:
        model: What answers, or the control of a split.
        challenger: What answers the share of a split; none without one.
        output_dir: Folder of `predictions/`, `rejected/`, `records/` and `manifest.json`.
        rows: The parameters that can change what is written for a row.
        reading: How the text of the input is read.
        workers: Shards that are scored at the same time.
        flow_run_id: The Prefect flow run, or an empty string outside of one.
        runner: `THREADS`, or the scheduler of the cluster that scores.
        refused_workers: Its workers that may not, with the reason of each.
    """

    model: ScoringModel
    challenger: ScoringModel | None = Field(default=None, exclude_if=operator.not_)
    output_dir: Path
    rows: RowParameters = RowParameters()
    # Not in a manifest without it, which earlier versions read.
    reading: ReadOptions = Field(default=AS_FOUND, exclude_if=AS_FOUND.__eq__)
    shard_rows: ShardRows = OPTIONS.shard_rows
    use_cache: UseCache = OPTIONS.use_cache
    batch_tokens: BatchTokens = OPTIONS.batch_tokens
    workers: Annotated[int, Field(ge=1)] = 2
    resume: Resume = OPTIONS.resume
    only_failed: OnlyFailed = OPTIONS.only_failed
    output_format: Format = OPTIONS.output_format
    deliver_to: DeliverTo = Field(default="", exclude_if=operator.not_)
    deliver_rejects_to: DeliverRejectsTo = Field(default="", exclude_if=operator.not_)
    flow_run_id: str = ""
    runner: str = Field(default=THREADS, exclude_if=THREADS.__eq__)
    refused_workers: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)

    @property
    def targets(self) -> dict[str, DeliveryTarget]:
        """The tables that get the rows of the output's folders."""
        given = {
            "predictions": ("deliver_to", self.deliver_to),
            "rejected": ("deliver_rejects_to", self.deliver_rejects_to),
        }
        return {
            folder: DeliveryTarget.parse(name, text)
            for folder, (name, text) in given.items()
            if text
        }

    @property
    def has_delivery_rule(self) -> bool:
        """Whether a rule says which rows are to be delivered."""
        return any(model.business and model.business.delivers for model in self.models)

    @property
    def models(self) -> tuple[ScoringModel, ...]:
        """The version of each arm: one without a split."""
        return (self.model,) if self.challenger is None else (self.model, self.challenger)

    @property
    def added_columns(self) -> dict[str, ColumnType]:
        """The columns that look-ups and rules add to predictions, with their types."""
        found = [model.business.added_columns for model in self.models if model.business]
        return {name: kind for columns in found for name, kind in columns.items()}

    @property
    def declared_columns(self) -> dict[str, str]:
        """The input columns that look-ups and rules read, each with the first version that does."""
        found: dict[str, str] = {}
        for model in self.models:
            for name in model.business.input_columns if model.business else ():
                found.setdefault(name, model.uri)
        return found

    @property
    def is_composed(self) -> bool:
        """Whether rows name the member of a composed pipeline that decided."""
        return any(model.is_composed for model in self.models)


class PlannedShard(FrozenModel):
    """A shard and what is to be done with it.

    Attributes:
        shard: The range of rows.
        why: Why it has to be scored; empty if it is done or left out.
        left: Why it is left out although it is not done.
        record: Its record, if it is done.
    """

    shard: Shard
    why: str
    left: str = ""
    record: ShardRecord | None = None


class ShardOutcome(FrozenModel):
    """What became of a shard, or of a file that cannot be read.

    Attributes:
        id: The shard's, or the file's.
        file_id: The file's.
        source: The file's name.
        record: Its record; none if it failed or was left out.
        skipped: Whether an earlier run did it.
        copied: Whether this run made copies of its tables, as CSV or JSONL.
        why: Why this run scored it.
        left: Why it was left out although it is not done.
        error: Why it failed.
        rows_failed: Rows that it has and that are not published because it failed.
        deliveries: What became of its deliveries.
    """

    id: str
    file_id: str
    source: str
    record: ShardRecord | None = None
    skipped: bool = False
    copied: Annotated[bool, Field(exclude=True)] = False  # of this run, not of the manifest
    why: str = ""
    left: str = ""
    error: str = ""
    rows_failed: int = 0
    deliveries: tuple[Delivery, ...] = Field(default=(), exclude_if=operator.not_)
