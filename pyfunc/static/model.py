"""The files of a static classifier, and the logits that it computes from them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import ArtifactError
from ..tokens import TokenBatch, read_config
from .features import Space, find_features

Table = npt.NDArray[np.float32]

MODEL_TYPE = "static"
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


@dataclass(frozen=True)
class StaticModel:
    """A linear classifier; its logits are the mean of those of its features, and a bias.

    Attributes:
        labels: The labels, in the order of the logits.
        space: What the rows of the table stand for.
        table: Logits of shape (features, labels).
        bias: Logits of shape (labels,); those of a text without features.
    """

    labels: tuple[str, ...]
    space: Space
    table: Table
    bias: Table

    def logits(self, batch: TokenBatch) -> Table:
        """Return the logits, of shape (rows, labels)."""
        rows, features = find_features(batch, self.space)
        count = len(batch.ids)
        values = self.table[features]
        # bincount adds in float64 and in order: no text changes the last digits of another.
        sums = [np.bincount(rows, values[:, label], count) for label in range(len(self.labels))]
        lengths = np.maximum(np.bincount(rows, minlength=count), 1)
        logits: Table = (np.stack(sums, axis=1) / lengths[:, None] + self.bias).astype(np.float32)
        return logits

    def write(self, folder: Path) -> None:
        """Write weights and configuration into `folder`; the tokenizer's files lie beside them."""
        config = {
            "model_type": MODEL_TYPE,
            "id2label": dict(enumerate(self.labels)),
            "vocab_size": self.space.tokens,
            "pair_buckets": self.space.buckets,
            "ignored_ids": self.space.ignored,
        }
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
        save_file({"table": self.table, "bias": self.bias}, folder / WEIGHTS_FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
        """
        config = read_config(folder, CONFIG_FILE)
        try:
            labels = tuple(str(config["id2label"][str(n)]) for n in range(len(config["id2label"])))
            ignored = tuple(map(int, config["ignored_ids"]))
            space = Space(int(config["vocab_size"]), int(config["pair_buckets"]), ignored)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{folder / CONFIG_FILE}: expected that of a static classifier "
                f"({type(error).__name__}: {error})"
            ) from error
        if space.buckets < 1 or space.buckets & (space.buckets - 1):
            raise ArtifactError(
                f"{folder / CONFIG_FILE}: pair_buckets: {space.buckets}; expected a power of two"
            )
        table, bias = _read_weights(folder / WEIGHTS_FILE, (space.size, len(labels)))
        return cls(labels, space, table, bias)


def is_static(folder: Path) -> bool:
    """Return whether the classifier in a folder is a static one.

    Raises:
        ArtifactError: If its `config.json` is missing or no JSON object.
    """
    return read_config(folder, CONFIG_FILE).get("model_type") == MODEL_TYPE


def _read_weights(path: Path, shape: tuple[int, int]) -> tuple[Table, Table]:
    try:
        tensors = load_file(path)
        found = {name: (str(array.dtype), array.shape) for name, array in tensors.items()}
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: expected the weights of a static classifier ({error})") from (
            error
        )
    expected = {"table": ("float32", shape), "bias": ("float32", shape[1:])}
    if found != expected:
        raise ArtifactError(f"{path}: has {found}; expected {expected}")
    return tensors["table"], tensors["bias"]
