"""Which rows go through the transformer together."""

from collections.abc import Iterator, Sequence

# The fastest of 256 to 8,192 with OpenVINO, in each precision, in the sweep of `make bench`.
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
