"""Which rows go through the transformer together."""

from collections.abc import Iterator, Sequence

# In sweeps of `make bench` from 256 to 8,192 with OpenVINO: f32 and bf16 came within 3 % of their
# best; int8 was at its best in one, and 6 to 12 % behind 2,048 and 4,096 in another.
DEFAULT_BATCH_TOKENS = 1_024


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield row numbers, longest rows first, such that rows × longest ≤ `batch_tokens`.

    A budget of tokens, not of rows: batches of equal cost keep all streams busy to the end, and
    rows of like length leave little to pad.

    Args:
        lengths: Tokens of each row.
        batch_tokens: Padded tokens in a batch at most; a longer row is a batch alone.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
