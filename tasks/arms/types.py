"""Types of the arms: the version that answers one."""

from pyfunc.spec import EngineName, Precision
from tasks.common.parameter_types import FrozenModel


class ScoringModel(FrozenModel):
    """A pipeline version that answers.

    Attributes:
        uri: `models:/<name>/<number>`, which cannot come to mean another.
        fingerprint: Digest of all that can change its answers.
        labels: The labels that it answers with, in the order of their ids.
        engine: What computes the transformer on this machine.
        precision: Number format of its matrix products.
        device: `cpu` or `cuda`.
        fallback: Why not the engine and precision that it was built for; empty if they do.
    """

    uri: str
    fingerprint: str
    labels: tuple[str, ...]
    engine: EngineName
    precision: Precision
    device: str
    fallback: str = ""

    @property
    def engine_in_words(self) -> str:
        """Engine, precision and device."""
        return f"{self.engine} {self.precision} on {self.device}"
