"""Features are what the last linear layer reads, where it reads one vector of each text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    RobertaConfig,
)

from tasks.common.errors import ModelError
from tasks.learning.backbone import Backbone, _find_head
from tasks.training.finetuned_model import record_inputs
from tasks.training.reference import open_reference
from tests.support.families import PAD, SENTENCES, VOCABULARY, save_classifier, word_tokenizer

_SMALL: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "pad_token_id": PAD,
    "max_position_embeddings": 64,
    "id2label": {row: f"label {row}" for row in range(3)},
    "initializer_range": 0.5,
}
_WIDE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
} | _SMALL
CONFIGS = {
    "bert": BertConfig(**_WIDE),
    "distilbert": DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, **_SMALL),
    "roberta": RobertaConfig(**_WIDE),
}


def save(folder: Path, family: str = "bert") -> Path:
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(CONFIGS[family]).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    record_inputs(folder)
    return folder


def opened(folder: Path, max_tokens: int = 16) -> Backbone:
    return Backbone(folder, max_tokens=max_tokens, name="models:/m/1")


@pytest.mark.parametrize("family", CONFIGS)
def test_the_head_of_the_features_answers_as_the_model(tmp_path: Path, family: str) -> None:
    backbone = opened(save(tmp_path, family))
    features, weights = backbone.features(SENTENCES), backbone.weights()
    assert features.shape == (len(SENTENCES), 16)
    assert features.dtype == np.float32
    assert weights.shape == (17, 3)
    expected = open_reference(tmp_path, max_tokens=16).logits(SENTENCES)
    assert np.abs(features @ weights[:-1] + weights[-1] - expected).max() < 1e-4
    assert (backbone.features(SENTENCES) == features).all()


def test_a_head_that_reads_every_token_is_refused(tmp_path: Path) -> None:
    backbone = opened(save_classifier(tmp_path, "gpt2"))
    message = r"^models:/m/1: its answers are not those of score, .*; expected a head that reads"
    with pytest.raises(ModelError, match=message):
        backbone.features(SENTENCES)


def test_a_model_without_a_linear_head_is_refused(tmp_path: Path) -> None:
    model = opened(save(tmp_path)).model
    model.classifier = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"^models:/m/1: has no linear layer with 3 outputs, one"):
        _find_head(model, "models:/m/1")


def test_another_head_has_the_same_digest_and_another_backbone_has_not(tmp_path: Path) -> None:
    backbone = opened(save(tmp_path / "first"))
    digest = backbone.digest()
    backbone.features(SENTENCES[:2])  # leaves a trace in the tokenizer
    backbone.set_weights(backbone.weights() + 1)
    assert np.abs(backbone.weights() - opened(tmp_path / "first").weights() - 1).max() < 1e-6
    backbone.model.save_pretrained(tmp_path / "second")
    backbone.tokenizer.save_pretrained(tmp_path / "second")
    record_inputs(tmp_path / "second")
    second = opened(tmp_path / "second")
    assert second.digest() == digest
    assert opened(tmp_path / "second", max_tokens=15).digest() != digest
    with torch.no_grad():
        second.model.bert.pooler.dense.bias[0] += 1
    assert second.digest() != digest


def test_longer_texts_are_cut(tmp_path: Path) -> None:
    backbone = opened(save(tmp_path), max_tokens=8)
    words = "a great film " * 9
    found = backbone.features([words, " ".join(words.split()[:8])])
    assert np.abs(found[0] - found[1]).max() < 1e-5
