"""The protocol of an inference engine: token batch in, logits out."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..spec import Variant
from ..tokens import TokenBatch

Logits = npt.NDArray[np.float32]


class Engine(Protocol):
    """A classifier with its weights, ready to compute.

    Attributes:
        variant: Library and precision.
        device: `cpu` or `cuda`.
        callers: Threads that have to call it at the same time to keep it busy.
        streams: Batches that it computes at the same time.
    """

    variant: Variant
    device: str
    callers: int
    streams: int

    def logits(self, batch: TokenBatch) -> Logits:
        """Return the logits, of shape (rows, labels)."""
