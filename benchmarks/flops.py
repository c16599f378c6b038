"""FLOP count of a BERT classifier, from its configuration."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a BERT classifier's matrix products."""

    layers: int
    hidden: int
    intermediate: int
    labels: int

    @classmethod
    def of(cls, config: Any) -> Self:
        """Read the sizes off a `transformers.BertConfig`."""
        return cls(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            labels=config.num_labels,
        )

    def model_flops(self, tokens: int) -> int:
        """Return the FLOPs of a text if every token goes through every layer.

        A product of an n × k and a k × m matrix is 2nkm operations (a multiplication and an
        addition each). A layer of n tokens with hidden size h and intermediate size i has:

            queries, keys, values, output   4 × 2nh²
            scores, context                 2 × 2n²h   (all heads together)
            feed-forward, in and out        2 × 2nhi

        With i = 4h this is the "24nh² + 4n²h" a layer of Narayanan et al. 2021,
        https://arxiv.org/abs/2104.04473 (section 5.1). Pooler and classifier read the first token
        alone: 2h² and 2hc for c labels. Embeddings, softmax, GELU and layer norms are no matrix
        products and are left out, as in the paper.

        Args:
            tokens: Tokens of the text: truncated, with special tokens, without padding.
        """
        return self.layers * self._layer(tokens, queries=tokens) + self._head()

    def executed_flops(self, tokens: int) -> int:
        """Return the FLOPs if the last layer is computed for the first token alone.

        Its keys and values are still those of all tokens. The pooler reads the first token alone,
        so that the answer is the same.

        Args:
            tokens: As above.
        """
        whole = (self.layers - 1) * self._layer(tokens, queries=tokens)
        return whole + self._layer(tokens, queries=1) + self._head()

    def _layer(self, tokens: int, *, queries: int) -> int:
        keys_and_values = 2 * 2 * tokens * self.hidden**2
        queries_and_output = 2 * 2 * queries * self.hidden**2
        attention = 2 * 2 * queries * tokens * self.hidden
        feed_forward = 2 * 2 * queries * self.hidden * self.intermediate
        return keys_and_values + queries_and_output + attention + feed_forward

    def _head(self) -> int:
        return 2 * self.hidden**2 + 2 * self.hidden * self.labels


def total(shape: Shape, lengths: Iterable[int]) -> tuple[int, int]:
    """Return the model's and the executed FLOPs of texts of these lengths in tokens."""
    lengths = list(lengths)
    return sum(map(shape.model_flops, lengths)), sum(map(shape.executed_flops, lengths))
