"""The features of a text: what the last linear layer of a fine-tuned transformer reads of it."""

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoTokenizer

from pyfunc.cpu_quota import usable_cores
from pyfunc.engines.torch import load_model
from tasks.common.errors import ModelError
from tasks.learning.regression import Weights
from tasks.static_model.tokenizer import TOKENIZER_FILE

Features = npt.NDArray[np.float32]

_BATCH_ROWS = 32

# What a tokenizer remembers of the last texts that it was called with.
_STATE_OF_TOKENIZER = ("truncation", "padding")


class Backbone:
    """A fine-tuned transformer in float32 on the CPU: all that comes before its last linear layer.

    On the CPU alone: features that are kept are compared with others that are computed later.

    Attributes:
        model: The classifier.
        tokenizer: Its tokenizer.
        head: Its last linear layer.
    """

    def __init__(self, folder: Path, *, max_tokens: int, name: str) -> None:
        """Load tokenizer and model.

        Args:
            folder: That of `downloaded_classifier`.
            max_tokens: Longer texts are cut to this many tokens.
            name: The model, for errors.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
            ModelError: If the classifier does not end with a linear layer.
        """
        # torch ignores the CPU quota of a container.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
        self.model = load_model(folder).float()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.head, self._head_name = _find_head(self.model, name)
        self._folder, self._max_tokens, self._name = folder, max_tokens, name
        self._accepted = inspect.signature(self.model.forward).parameters
        self._read: list[torch.Tensor] = []
        self.head.register_forward_pre_hook(lambda _, inputs: self._read.append(inputs[0]))

    @property
    def width(self) -> int:
        """The number of features."""
        return int(self.head.in_features)

    def digest(self) -> str:
        """Return the SHA-256 of all that decides the features: weights, tokenizer, length of texts.

        The head is left out, so that a version that differs in it alone has the same.
        """
        digest = hashlib.sha256()
        for name, weights in sorted(self.model.state_dict().items()):
            if name.rpartition(".")[0] != self._head_name:
                array = weights.contiguous().numpy()
                digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
                digest.update(array.tobytes())
        tokenizer = json.loads((self._folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
        parts = {name: tokenizer[name] for name in tokenizer if name not in _STATE_OF_TOKENIZER}
        digest.update(json.dumps([parts, self._max_tokens], sort_keys=True).encode())
        return digest.hexdigest()

    def features(self, texts: Sequence[str]) -> Features:
        """Return the features of texts of similar length, of shape (texts, features).

        Raises:
            ModelError: If the answers of the model are not those of its last linear layer.
        """
        starts = range(0, len(texts), _BATCH_ROWS)
        found = [self._compute(texts[start : start + _BATCH_ROWS]) for start in starts]
        return np.concatenate([np.empty((0, self.width), np.float32), *found])

    def weights(self) -> Weights:
        """Return the weights of the head, of shape (features, labels); a bias is the last row."""
        layers = [self.head.weight.T, *([] if self.head.bias is None else [self.head.bias[None]])]
        found: Weights = torch.cat(layers).detach().double().numpy()
        return found

    @property
    def has_bias(self) -> bool:
        """Whether the head has a bias."""
        return self.head.bias is not None

    @torch.no_grad()
    def set_weights(self, weights: Weights) -> None:
        """Give the head other weights, of the shape of `weights`."""
        found = torch.from_numpy(weights)
        self.head.weight.copy_(found[: self.width].T)
        if self.head.bias is not None:
            self.head.bias.copy_(found[self.width])

    @torch.inference_mode()
    def _compute(self, texts: Sequence[str]) -> Features:
        encoded = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self._max_tokens,
            padding=True,
            return_tensors="pt",
        )
        inputs = {name: array for name, array in encoded.items() if name in self._accepted}
        self._read.clear()
        logits = self.model(**inputs).logits
        read = self._read[-1]
        answers = torch.nn.functional.linear(read, self.head.weight, self.head.bias)
        if answers.shape != logits.shape or not torch.allclose(answers, logits, atol=1e-4):
            raise ModelError(
                f"{self._name}: its answers are not those of {self._head_name}, its last linear "
                "layer; expected a head that reads one vector of each text"
            )
        features: Features = read.numpy()
        return features


def _find_head(model: Any, name: str) -> tuple[torch.nn.Linear, str]:
    """Return the last linear layer of a classifier, and its name.

    Its name differs: `classifier` of BERT and DistilBERT, `classifier.out_proj` of RoBERTa.
    """
    labels = model.config.num_labels
    found = [
        (layer, path)
        for path, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer.out_features == labels
    ]
    if not found:
        raise ModelError(
            f"{name}: has no linear layer with {labels} outputs, one for each label; expected a "
            "head that ends with one"
        )
    return found[-1]
