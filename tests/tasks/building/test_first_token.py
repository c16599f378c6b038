"""A last layer that is computed for one token answers as one that is computed for all."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
)

from pyfunc.engines.openvino import import_openvino
from pyfunc.tokens import INPUT_NAMES
from tasks.building.openvino_conversion import keep_first_token

openvino = import_openvino()

SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}

SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,
}


def model_of(config: Any, attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(
        config, attn_implementation=attention
    ).eval()


def bert(**fields: Any) -> Any:
    return model_of(BertConfig(**SMALL | fields))


def deep_bert() -> Any:
    return bert(num_hidden_layers=4)


def bert_with_relu() -> Any:
    return bert(hidden_act="relu")


def roberta() -> Any:
    return model_of(RobertaConfig(**SMALL, type_vocab_size=1))


def distilbert() -> Any:
    return model_of(
        DistilBertConfig(
            vocab_size=100, dim=16, n_layers=2, n_heads=2, hidden_dim=32, initializer_range=0.5
        )
    )


def electra() -> Any:
    return model_of(ElectraConfig(**SMALL, embedding_size=16))


def eager_bert() -> Any:
    return model_of(BertConfig(**SMALL), "eager")


class Headed(torch.nn.Module):
    """A BERT whose head reads what `read` takes from the last layer's vectors."""

    def __init__(self, read: Callable[[torch.Tensor], torch.Tensor], **fields: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bert = BertModel(BertConfig(**SMALL | fields), add_pooling_layer=False)
        self.head = torch.nn.Linear(16, 2)
        self.read = read

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        vectors = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(self.read(vectors))


def mean_pooling() -> Any:
    return Headed(lambda vectors: vectors.mean(1)).eval()


def first_token_beside_the_mean() -> Any:
    return Headed(lambda vectors: vectors[:, 0] + vectors.mean(1)).eval()


def second_token() -> Any:
    return Headed(lambda vectors: vectors[:, 1]).eval()


def last_token() -> Any:
    return Headed(lambda vectors: vectors[:, -1]).eval()


def first_token_less_the_mean_of_the_tokens() -> Any:
    return Headed(lambda vectors: (vectors - vectors.mean(1, keepdim=True))[:, 0]).eval()


def first_token_of_the_order_reversed() -> Any:
    return Headed(lambda vectors: vectors.flip(1)[:, 0]).eval()


def first_feature() -> Any:
    return Headed(lambda vectors: vectors[:, :, 0].sum(1, keepdim=True).expand(-1, 16)).eval()


def deberta() -> Any:
    return model_of(DebertaV2Config(**SMALL, type_vocab_size=0, relative_attention=True), "eager")


def converted(model: Any) -> Any:
    accepted = inspect.signature(model.forward).parameters
    names = [name for name in INPUT_NAMES if name in accepted]
    example = {name: torch.ones(2, 8, dtype=torch.long) for name in names}
    if "token_type_ids" in example:
        example["token_type_ids"] *= 0  # RoBERTa has no other
    return openvino.convert_model(model, example_input=example)


def answers(model: Any) -> Any:
    """Answer three texts, two of them padded."""
    compiled = openvino.Core().compile_model(model, "CPU", SETTINGS)
    random = np.random.default_rng(0)
    mask = (np.arange(11) < [[11], [7], [2]]).astype(np.int64)
    arrays = {
        "input_ids": np.where(mask == 1, random.integers(5, 100, mask.shape), 1),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    names = [port.get_any_name() for port in compiled.inputs]
    return compiled({name: arrays[name] for name in names})[0]


def nodes(model: Any) -> list[tuple[str, list[str]]]:
    """Return each node with those that it reads."""
    return [
        (
            node.get_friendly_name(),
            [value.get_node().get_friendly_name() for value in node.input_values()],
        )
        for node in model.get_ordered_ops()
    ]


def slices(model: Any) -> int:
    return sum(node.get_type_name() == "Slice" for node in model.get_ops())


@pytest.mark.filterwarnings("ignore")  # the tracer warns of each Python branch
@pytest.mark.parametrize(
    "build", [bert, deep_bert, bert_with_relu, eager_bert, roberta, distilbert, electra]
)
def test_a_model_that_classifies_by_its_first_token_is_cut_and_answers_as_before(
    build: Callable[[], Any],
) -> None:
    model = converted(build())
    expected, before = answers(model), slices(model)
    cuts = keep_first_token(model)
    assert slices(model) == before + cuts
    assert 2 <= cuts <= 4
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    np.testing.assert_allclose(answers(model), expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # the tracer warns of each Python branch
@pytest.mark.parametrize(
    "build",
    [
        mean_pooling,
        first_token_beside_the_mean,
        second_token,
        last_token,
        first_token_less_the_mean_of_the_tokens,
        first_token_of_the_order_reversed,
        first_feature,
        deberta,
    ],
)
def test_a_model_of_another_form_is_left_as_it_is(build: Callable[[], Any]) -> None:
    model = converted(build())
    before = nodes(model)
    assert keep_first_token(model) == 0
    assert nodes(model) == before
