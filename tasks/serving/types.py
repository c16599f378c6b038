"""Types of online serving: parameters of the command, and what a request asks for."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import ConfigDict, model_validator

from pyfunc.batching import DEFAULT_BATCH_TOKENS, MAX_BATCH_TOKENS
from tasks.arms.asked_split import check_split
from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about
from tasks.output.traffic_split import AskedSplit, SplitChoice, SplitKey, parse_split
from tasks.recording.types import (
    RECORDING,
    RecordFolder,
    RecordFraction,
    RecordOptions,
    RecordSeconds,
    RecordText,
)
from tasks.shadow.types import SHADOWS, ShadowFraction
from tasks.tracking.names import CHAMPION_URI, parse_pipeline_reference

ServedUri = Annotated[
    str,
    about(
        "The version of inference_pipeline_model that answers: an alias, which is followed, or a "
        "number or URI, which is not."
    ),
]
Processes = Annotated[
    int, about("Processes that answer, each with the model of its own.", ge=1, le=64)
]
DeadlineSeconds = Annotated[
    float,
    about(
        "Seconds within which a request is answered, unless its header X-Deadline-Seconds has "
        "fewer. A request that would wait longer is refused with 503.",
        gt=0,
        le=3_600,
    ),
]
MaxTexts = Annotated[int, about("Texts of a request at most.", ge=1, le=100_000)]
MaxMib = Annotated[float, about("MiB of the body of a request at most.", gt=0, le=1_024)]
PollSeconds = Annotated[
    float, about("Seconds between two looks at where an alias points.", gt=0, le=3_600)
]
Shadow = Annotated[
    str,
    about(
        "Version that answers a sample of the recorded texts as well, while no request waits: a "
        "number, an alias or a URI. Its answers go into shadow/ of the record."
    ),
]
UseCache = Annotated[
    bool, about("Whether answers are looked up in the prediction cache, and stored.")
]
AllScores = Annotated[bool, about("Whether each answer has the probability of every label.")]
BatchTokens = Annotated[int, about("Padded tokens in a batch at most.", ge=1, le=MAX_BATCH_TOKENS)]


class ServingOptions(FrozenModel):
    """How online serving answers: parameters of the command.

    Raises:
        ParameterError: If one means nothing, or they do not go together.
    """

    model_uri: ServedUri = CHAMPION_URI
    split: SplitChoice = ""
    split_key: SplitKey = ""
    deadline_seconds: DeadlineSeconds = 10.0
    max_texts: MaxTexts = 1_000
    max_mib: MaxMib = 8.0
    poll_seconds: PollSeconds = 2.0
    record: RecordFolder = ""
    record_fraction: RecordFraction = RECORDING.fraction
    record_text: RecordText = RECORDING.with_text
    record_seconds: RecordSeconds = RECORDING.seconds_per_file
    shadow: Shadow = ""
    shadow_fraction: ShadowFraction = SHADOWS.shadow_fraction

    @model_validator(mode="after")
    def _check(self) -> Self:
        parse_pipeline_reference(self.model_uri)
        check_split(self.split, self.split_key)
        self._check_record()
        return self

    def _check_record(self) -> None:
        for name in ("record_fraction", "record_text", "record_seconds", "shadow"):
            if not self.record and getattr(self, name) != type(self).model_fields[name].default:
                raise ParameterError(
                    f"{name}: {getattr(self, name)} without record; expected record as well, a "
                    "folder such as var/scored/online"
                )
        if self.shadow:
            parse_pipeline_reference(self.shadow, parameter="shadow")
            if self.split or not self.record_text:
                raise ParameterError(
                    f"shadow: {self.shadow} beside a split, or a record without texts; expected "
                    "one version that answers, and the texts for the other one"
                )

    @property
    def recording(self) -> RecordOptions:
        """What is recorded of answered requests."""
        return RecordOptions(
            fraction=self.record_fraction,
            with_text=self.record_text,
            seconds_per_file=self.record_seconds,
        )

    @property
    def asked_split(self) -> AskedSplit | None:
        """The version and the share that `split` asks for; none if it is empty."""
        return parse_split(self.split) if self.split else None

    @property
    def max_bytes(self) -> int:
        """Bytes of the body of a request at most."""
        return int(self.max_mib * 2**20)


class AnswerOptions(FrozenModel):
    """How the rows of a request are answered."""

    model_config = ConfigDict(strict=True)

    use_cache: UseCache = True
    batch_tokens: BatchTokens = DEFAULT_BATCH_TOKENS
    all_scores: AllScores = False


class AskedRows(FrozenModel):
    """The rows of a request.

    Attributes:
        texts: A text a row, of any type.
        columns: Other columns, which look-ups, rules and the key of a split read.
        options: How they are answered.
    """

    texts: Sequence[object]
    columns: Mapping[str, Sequence[object]] = {}
    options: AnswerOptions = AnswerOptions()
