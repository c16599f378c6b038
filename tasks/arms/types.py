"""Types of the arms: the version that answers one."""

import operator

from pydantic import Field

from pyfunc.business.spec import BusinessSpec
from pyfunc.spec import EngineName, Precision
from tasks.common.parameter_types import FrozenModel


class ScoringModel(FrozenModel):
    """A pipeline version that answers.

    Attributes:
        uri: `models:/<name>/<number>`, which cannot come to mean another.
        fingerprint: Digest of all that can change its answers.
        labels: The labels that it answers with, in the order of their ids.
        engine: What computes the transformer on this machine; of several, that of the first member.
        precision: Number format of its matrix products.
        device: `cpu` or `cuda`.
        fallback: Why not the engine and precision that it was built for; empty if they do.
        is_composed: Whether several fine-tuned models answer, so that rows name who decided.
        engines: Engine, precision and device of each member of a composed version.
        business: Its look-ups and rules, if it has any.
        rules_digest: Digest of them; empty without.
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
    engines: dict[str, str] = Field(default={}, exclude_if=operator.not_)
    logged_uri: str = Field(default="", exclude_if=operator.not_)
    business: BusinessSpec | None = Field(default=None, exclude_if=operator.not_)
    rules_digest: str = Field(default="", exclude_if=operator.not_)

    @property
    def engine_in_words(self) -> str:
        """Engine, precision and device; of members with different ones, each with its members."""
        members: dict[str, list[str]] = {}
        for name, engine in self.engines.items():
            members.setdefault(engine, []).append(name)
        if len(members) > 1:
            return ", ".join(f"{engine} ({', '.join(names)})" for engine, names in members.items())
        return f"{self.engine} {self.precision} on {self.device}"
