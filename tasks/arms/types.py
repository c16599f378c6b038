"""Types of the arms: the version that answers one."""

import operator

from pydantic import Field

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
        is_composed: Whether several fine-tuned models answer, so that rows name who decided.
        logged_uri: `models:/m-…`, which rows name that a composed version computed; else empty.
    """

    uri: str
    fingerprint: str
    labels: tuple[str, ...]
    engine: EngineName
    precision: Precision
    device: str
    fallback: str = ""
    # Not in a manifest without it, which earlier versions read.
    is_composed: bool = Field(default=False, exclude_if=operator.not_)
    logged_uri: str = Field(default="", exclude_if=operator.not_)

    @property
    def engine_in_words(self) -> str:
        """Engine, precision and device."""
        return f"{self.engine} {self.precision} on {self.device}"
