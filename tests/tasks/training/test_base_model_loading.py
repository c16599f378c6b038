"""What a base model has to be so that it can be trained, and what it is given."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertTokenizerLegacy,
    PreTrainedModel,
    RobertaConfig,
)

from tasks.common.errors import ModelError
from tasks.training.base_model_loading import load_base_model
from tasks.training.types import FineTuneParameters
from tests.support.families import PAD, VOCABULARY, save_classifier, word_tokenizer

LABELS = ("negative", "positive")


def save_roberta(folder: Path, tokenizer: dict[str, Any] | None = None, **fields: Any) -> Path:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "pad_token_id": PAD,
        "max_position_embeddings": 130,
    }
    config = RobertaConfig(**small | fields)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    word_tokenizer(**{"model_max_length": 10**30} | (tokenizer or {})).save_pretrained(folder)
    return folder


def loaded(folder: Path, max_tokens: int = 16, labels: tuple[str, ...] = LABELS) -> Any:
    return load_base_model(folder, labels, FineTuneParameters(max_tokens=max_tokens))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as raised:
        loaded(folder, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# The length of texts


def test_positions_that_start_after_the_padding_id_are_fewer_tokens(tmp_path: Path) -> None:
    folder = save_roberta(tmp_path)
    assert refusal(folder, max_tokens=128) == f"max_tokens: 128; {folder} reads 127 at most"
    assert refusal(folder, max_tokens=400) == f"max_tokens: 400; {folder} reads 127 at most"
    assert loaded(folder, max_tokens=127)[1].model_max_length == 127


@pytest.mark.parametrize(("family", "most"), [("gpt2", 64), ("xlnet", 4_096)])
def test_a_tokenizer_without_a_limit_leaves_the_models(
    tmp_path: Path, family: str, most: int
) -> None:
    folder = save_classifier(tmp_path, family)
    edit(folder / "tokenizer_config.json", model_max_length=10**30)
    assert loaded(folder, max_tokens=64)[1].model_max_length == 64
    message = refusal(folder, max_tokens=most + 1)
    assert message == f"max_tokens: {most + 1}; {folder} reads {most} at most"


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# The tokenizer


def test_a_token_without_an_embedding_is_named(tmp_path: Path) -> None:
    assert refusal(save_roberta(tmp_path, vocab_size=98)) == (
        f"base_model: {tmp_path}: its tokenizer has the token id 99; "
        "expected less than 98, the tokens that the model has embeddings for"
    )


def test_a_tokenizer_that_the_pipeline_cannot_run_is_named(tmp_path: Path) -> None:
    save_roberta(tmp_path)
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    words = tmp_path / "vocab.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    BertTokenizerLegacy(str(words)).save_pretrained(tmp_path)
    assert "expected one of the tokenizers library, as tokenizer.json" in refusal(tmp_path)


def test_a_model_without_a_padding_id_gets_that_of_its_tokenizer(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, "gpt2")
    edit(folder / "config.json", pad_token_id=None)
    model, tokenizer = loaded(folder)
    assert model.config.pad_token_id == tokenizer.pad_token_id == PAD
    model(**tokenizer(["a film", "a"], padding=True, return_tensors="pt"))


def test_a_tokenizer_pads_with_the_token_that_the_model_takes_for_padding(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, "gpt2")
    word_tokenizer(pad_token=None, eos_token="</s>").save_pretrained(folder)
    edit(folder / "config.json", pad_token_id=VOCABULARY["</s>"])
    model, tokenizer = loaded(folder)
    assert model.config.pad_token_id == tokenizer.pad_token_id == VOCABULARY["</s>"]
    edit(folder / "config.json", pad_token_id=None)
    assert refusal(folder).endswith("its tokenizer has no padding token; expected one")


# The head


def head_of(model: PreTrainedModel) -> torch.Tensor:
    return model.get_parameter("classifier.out_proj.weight")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"num_labels": 5}, "5 outputs (problem_type not given)"),
        ({"num_labels": 1, "problem_type": "regression"}, "1 outputs (regression)"),
        ({"problem_type": "regression"}, "2 outputs (regression)"),
        (
            {"problem_type": "multi_label_classification"},
            "2 outputs (multi_label_classification)",
        ),
    ],
)
def test_a_head_for_something_else_is_replaced_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], found: str
) -> None:
    folder = save_roberta(tmp_path, **fields)
    before = head_of(AutoModelForSequenceClassification.from_pretrained(folder))
    model, tokenizer = loaded(folder)
    assert f"its head of {found} is left out; 2 labels get a new one" in caplog.text
    assert head_of(model).shape == (2, 16)
    assert not torch.equal(head_of(model), before[: len(LABELS)].expand(2, 16))
    assert model.config.id2label == dict(enumerate(LABELS))
    inputs = tokenizer(["a film"], return_tensors="pt")
    assert model(**inputs, labels=torch.tensor([1])).loss.isfinite()


def test_a_head_for_as_many_labels_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_roberta(tmp_path)
    before = head_of(AutoModelForSequenceClassification.from_pretrained(folder))
    assert torch.equal(head_of(loaded(folder)[0]), before)
    assert "left out" not in caplog.text


# Files that do not fit together


def test_weights_of_another_shape_or_model_are_refused(tmp_path: Path) -> None:
    folder = save_roberta(tmp_path / "shape")
    edit(folder / "config.json", intermediate_size=32)
    assert "have another shape than its configuration says" in refusal(folder)
    folder = save_roberta(tmp_path / "model")
    edit(folder / "config.json", model_type="bert")
    assert "its weights have no bert.embeddings.word_embeddings.weight" in refusal(folder)
