"""Types of business logic: what a pipeline is to be built with."""

from pathlib import Path

from pyfunc.business.spec import BusinessSpec
from tasks.common.parameter_types import FrozenModel


class BusinessPlan(FrozenModel):
    """The look-ups and rules of a pipeline that is to be built.

    Attributes:
        spec: What they are.
        rules_path: The file with the rules; none without rules.
        rules_sha256: Its digest as it was checked.
    """

    spec: BusinessSpec
    rules_path: Path | None = None
    rules_sha256: str = ""


class PossibleAnswers(FrozenModel):
    """What rules may be told of an answer, before there is one.

    Attributes:
        labels: Those that the pipeline answers with.
        deciders: The members that may decide; none of a pipeline that is not composed.
    """

    labels: tuple[str, ...]
    deciders: tuple[str, ...] = ()
