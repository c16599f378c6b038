"""What a transformer is computed by: the protocol of an engine."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..spec import Variant
from ..tokens import TokenBatch

Logits = npt.NDArray[np.float32]


class Engine(Protocol):
    """A transformer with its weights, ready to compute.

    Attributes:
        variant: What it is.
        device: `cpu` or `cuda`.
        callers: Threads that keep it busy by calling it at the same time.
    """

    variant: Variant
    device: str
    callers: int

    def logits(self, batch: TokenBatch) -> Logits:
        """Return the scores before the softmax, of shape (rows, labels)."""
