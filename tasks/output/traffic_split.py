"""A/B split: which share of the rows a challenger answers, and which rows these are."""

import hashlib
import operator
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about

# In the order of their numbers: the version that answers without a split, and the other one.
ARMS = ("control", "challenger")


class AskedSplit(NamedTuple):
    """What `split` asks for.

    Attributes:
        reference: The challenger: a number, an alias or a URI.
        share: The share of the keys that it answers, between 0 and 1.
    """

    reference: str
    share: float


def parse_split(split: str) -> AskedSplit:
    """Return the version and the share that `challenger=0.1` names.

    Raises:
        ParameterError: If it has another form, or the share is not between 0 and 1.
    """
    reference, _, number = split.rpartition("=")
    try:
        share = float(number)
    except ValueError:
        share = 0.0
    if not reference or not 0 < share < 1:
        raise ParameterError(
            f"split: {split!r}; expected a version and its share between 0 and 1, as in "
            "challenger=0.1"
        )
    return AskedSplit(reference, share)


def _check_form(split: str) -> str:
    if split:
        parse_split(split)
    return split


# Refused before a run starts, as a path is; whether there is such a version is for the run to find.
SplitChoice = Annotated[
    str,
    AfterValidator(_check_form),
    about(
        "Version that answers a share of the rows in place of model_uri, and the share, as in "
        "challenger=0.1; empty splits nothing."
    ),
]
SplitKey = Annotated[
    str,
    about(
        "Column whose value decides which version of a split answers, such as a customer's "
        "number; empty takes the text."
    ),
]

_HASH_RANGE = 2.0**64


class TrafficSplit(FrozenModel):
    """A split of the rows between two versions.

    Attributes:
        challenger_uri: `models:/<name>/<number>` of the version that answers the share.
        fingerprint: Digest of all that can change its answers.
        rules_digest: Digest of its look-ups and rules; empty without.
        share: The share of the keys that it answers, between 0 and 1.
        key_column: The column of the keys; empty for the text.
    """

    challenger_uri: str
    fingerprint: str
    rules_digest: str = Field(default="", exclude_if=operator.not_)
    share: float
    key_column: str = ""

    @property
    def salt(self) -> str:
        """What makes the splits of two challengers independent of each other."""
        return self.challenger_uri

    def goes_to_challenger(self, key: str) -> bool:
        """Return whether the challenger answers the rows of a key.

        It does where the first eight bytes of the SHA-256 of salt, line feed and key, as a number
        from 0 to 1, are below the share. So a key has the same version in every run, a larger
        share keeps the keys of a smaller one, and anyone can compute it again.
        """
        digest = hashlib.sha256(f"{self.salt}\n{key}".encode(errors="surrogatepass")).digest()
        place = int.from_bytes(digest[:8], "big")
        return place < self.share * _HASH_RANGE

    def describe(self) -> str:
        """Return the split in words."""
        by = f"column {self.key_column}" if self.key_column else "text"
        return f"{self.challenger_uri} answers {self.share:.2%}, by {by}"
