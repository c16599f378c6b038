"""The features of a text: its tokens, and the pairs of neighbours, which share hash buckets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..tokens import TokenBatch

Numbers = npt.NDArray[np.int64]

# Multipliers and shifts of SplitMix64 (https://doi.org/10.1145/2714064.2660195).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT, _HALF = np.uint64(31), np.uint64(32)


@dataclass(frozen=True, slots=True)
class Space:
    """The rows of the table: one for each token id, then one for each bucket of pairs.

    Attributes:
        tokens: Token ids; those of the tokenizer are below.
        buckets: Buckets of pairs; a power of two.
        ignored: Ids that are no feature, and separate their neighbours: special tokens.
    """

    tokens: int
    buckets: int
    ignored: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """The number of features."""
        return self.tokens + self.buckets


def find_features(batch: TokenBatch, space: Space) -> tuple[Numbers, Numbers]:
    """Return the features of a batch; neither padding nor the other texts change those of a text.

    Returns:
        For each feature the row of its text in the batch, and its row in the table. Those of one
        text are in the order of the text, its tokens first.
    """
    ids = batch.ids
    kept = (batch.mask != 0) & ~np.isin(ids, space.ignored)
    rows, places = np.nonzero(kept)
    pair_rows, firsts = np.nonzero(kept[:, :-1] & kept[:, 1:])
    buckets = hash_pairs(ids[pair_rows, firsts], ids[pair_rows, firsts + 1], space.buckets)
    return (
        np.concatenate([rows, pair_rows]),
        np.concatenate([ids[rows, places], space.tokens + buckets]),
    )


def hash_pairs(firsts: Numbers, seconds: Numbers, buckets: int) -> Numbers:
    """Return the bucket of each pair of token ids.

    Args:
        firsts: The first id of each pair; less than 2³².
        seconds: The second id of each.
        buckets: A power of two.
    """
    mixed = (firsts.astype(np.uint64) << _HALF) | seconds.astype(np.uint64)
    mixed = (mixed ^ (mixed >> _SHIFT)) * _FIRST
    mixed = (mixed ^ (mixed >> _SHIFT)) * _SECOND
    return ((mixed ^ (mixed >> _SHIFT)) & np.uint64(buckets - 1)).astype(np.int64)
