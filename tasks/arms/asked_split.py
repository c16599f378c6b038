"""What is asked of an A/B split: checked before a registry is asked, and made of its versions."""

from tasks.arms.types import ScoringModel
from tasks.common.errors import ParameterError
from tasks.output.traffic_split import AskedSplit, TrafficSplit, parse_split
from tasks.tracking.names import parse_pipeline_reference


def check_split(split: str, split_key: str) -> None:
    """Check the parameters of a split, which may be empty.

    Raises:
        ParameterError: If `split` is of another form, or there is a key without a split.
    """
    if split:
        parse_pipeline_reference(parse_split(split).reference, parameter="split")
    elif split_key:
        raise ParameterError(
            f"split_key: {split_key!r} without a split; expected split as well, as in "
            "challenger=0.1"
        )


def split_with(challenger: ScoringModel, asked: AskedSplit, split_key: str) -> TrafficSplit:
    """Return the split between the version that answers anyway and a challenger."""
    return TrafficSplit(
        challenger_uri=challenger.uri,
        fingerprint=challenger.fingerprint,
        rules_digest=challenger.rules_digest,
        share=asked.share,
        key_column=split_key,
    )
