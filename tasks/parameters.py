"""Types of the flows' parameters: bounds and choices that forms and command lines share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pyfunc.spec import Kind
from tasks.building.types import EngineChoice, PrecisionChoice
from tasks.common.urls import without_login
from tasks.dataset.types import Fraction
from tasks.maintenance.types import KindChoice
from tasks.output.language_policy import Policy, Probability
from tasks.training.types import Step as TrainingStep
from tasks.training.types import Strategy

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
# Memory grows with each of these, and none of them gains anything long before.
BatchTokens = Annotated[int, Field(ge=1, le=65_536)]
BatchSize = Annotated[int, Field(ge=1, le=4_096)]
ShardRows = Annotated[int, Field(ge=1, le=1_000_000)]
Examples = Annotated[int, Field(ge=0, le=100)]
Epochs = Annotated[int, Field(ge=1, le=1_000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # NumPy takes no larger one
Days = Annotated[int, Field(ge=0, le=36_500)]  # dates end in the year 1
TokenLimit = Annotated[int, Field(ge=8)]
LearningRate = Annotated[float, Field(gt=0, lt=1)]
Promotion = Literal["if_no_worse", "always"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
OutputFolder = Annotated[str, Field(min_length=1)]
Source = Annotated[str, AfterValidator(without_login)]
Workers = Annotated[int, Field(ge=0, le=64)]
HeldOutShards = Annotated[int, Field(ge=1, le=1000)]
EndToEndStep = Literal[
    "all",
    "download_data",
    "fine_tuning_model",
    "register_model",
    "inference_pipeline_model",
    "score",
]

__all__ = [
    "BatchSize",
    "BatchTokens",
    "Days",
    "EndToEndStep",
    "EngineChoice",
    "Epochs",
    "Examples",
    "Fraction",
    "HeldOutShards",
    "Kind",
    "KindChoice",
    "LearningRate",
    "NotNegative",
    "OutputFolder",
    "Policy",
    "Positive",
    "PrecisionChoice",
    "Probability",
    "Promotion",
    "Seed",
    "Sha256",
    "ShardRows",
    "Source",
    "Strategy",
    "TokenLimit",
    "TrainingStep",
    "Workers",
]
