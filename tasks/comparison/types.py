"""Types of a comparison of two versions on the same rows."""

from tasks.common.parameter_types import FrozenModel
from tasks.measures.difference import Difference
from tasks.measures.paired import PairedCounts


class Group(FrozenModel):
    """Rows that have something in common, as a language.

    Attributes:
        rows: Those that both versions answered.
        flips: Those of them that they answered with different labels.
    """

    rows: int
    flips: int


class Flip(FrozenModel):
    """A row that two versions answered with different labels.

    Attributes:
        shard: Its shard.
        row: Its number in the file, counted from 1.
        text: Its text.
        present: The label of the present version, and its score.
        other: The label of the other version, and its score.
        truth: Its label in the input; empty without.
    """

    shard: str
    row: int
    text: str
    present: tuple[str, float]
    other: tuple[str, float]
    truth: str = ""


class Rejects(FrozenModel):
    """Rows that a version rejected.

    Attributes:
        both: Those that both rejected.
        only_present: Those that the present version alone rejected, by reason.
        only_other: Those that the other version alone rejected, by reason.
    """

    both: int
    only_present: dict[str, int]
    only_other: dict[str, int]


class Comparison(FrozenModel):
    """Two versions on the same rows.

    Attributes:
        present: The version that answers today.
        other: The version that is compared with it.
        rows: Rows that both were given.
        scored: Those that both answered.
        flips: Those of them that they answered with different labels.
        pairs: Flips by the label of the present version, then by that of the other.
        by_language: Rows that both answered by the language that the present version detected.
        by_length: The same by characters of the text, as `100-199`.
        by_score: The same by the score of the present version, as `0.90-0.95`.
        rejects: Rows that one rejected, or both.
        labels: Rows with a label that both know, by who is right; a rejected row is wrong.
        examples: A few of the flips.
        left_out: Shards that cannot be compared, with the reason.
    """

    present: str
    other: str
    rows: int
    scored: int
    flips: int
    pairs: dict[str, dict[str, int]]
    by_language: dict[str, Group]
    by_length: dict[str, Group]
    by_score: dict[str, Group]
    rejects: Rejects
    labels: PairedCounts | None
    examples: tuple[Flip, ...]
    left_out: dict[str, str]

    @property
    def agreement(self) -> float | None:
        """The share of the rows that both answered with one label; None without such rows."""
        return 1 - self.flips / self.scored if self.scored else None


class Significance(FrozenModel):
    """What labelled rows say of the difference.

    Attributes:
        p_value: Of the exact one-sided test that the other version is better.
        difference: Its accuracy minus that of the present version, with its bounds.
    """

    p_value: float
    difference: Difference
