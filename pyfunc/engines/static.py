"""Static inference engine: the averaged logits of tokens and pairs of tokens, with numpy."""

from pathlib import Path

from ..cpu_quota import usable_cores
from ..spec import Variant
from ..static.model import StaticModel
from ..tokens import TokenBatch
from .engine import Logits


class StaticEngine:
    """A static classifier; a batch has one thread, and takes less time than its tokenizer."""

    device = "cpu"
    callers = 1
    variant = Variant("static", "f32")

    def __init__(self, folder: Path) -> None:
        """Read the weights.

        Args:
            folder: Written by `StaticModel.write`.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
        """
        self._model = StaticModel.read(folder)
        self.streams = usable_cores()

    def logits(self, batch: TokenBatch) -> Logits:
        """Return the logits, of shape (rows, labels)."""
        return self._model.logits(batch)
