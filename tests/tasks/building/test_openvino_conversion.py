import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    RobertaConfig,
)
from transformers.utils.logging import warning_once

from pyfunc.classifier import Classifier
from pyfunc.engines.openvino import OpenVinoEngine, import_openvino, model_path
from pyfunc.tokens import Encoder
from tasks.building import openvino_conversion
from tests.support.references import TEXTS, Reference, close


@pytest.fixture(params=["roberta", "distilbert"])
def other(request: pytest.FixtureRequest, tiny_classifier: Path, tmp_path: Path) -> Path:
    """A tiny classifier that takes other inputs than BERT, with BERT's tokenizer."""
    torch.manual_seed(0)
    configs = {
        "roberta": RobertaConfig(
            vocab_size=30_522,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            type_vocab_size=1,
            pad_token_id=0,
            initializer_range=0.5,
        ),
        "distilbert": DistilBertConfig(
            vocab_size=30_522, dim=16, n_layers=2, n_heads=2, hidden_dim=32, initializer_range=0.5
        ),
    }
    model = AutoModelForSequenceClassification.from_config(configs[request.param])
    model.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(tiny_classifier).save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def test_a_model_with_other_inputs_than_bert_is_converted(other: Path, tmp_path: Path) -> None:
    openvino_conversion.convert_to_openvino(other, tmp_path / "ir")
    classifier = Classifier(other, OpenVinoEngine(tmp_path / "ir", "f32"), max_tokens=16)
    expected = [Reference(other).probabilities(text) for text in TEXTS]
    assert classifier.probabilities(TEXTS).tolist() == close(expected)


def node_types(path: Path) -> Counter[str]:
    model: Any = import_openvino().Core().read_model(path)
    return Counter(node.get_type_name() for node in model.get_ops())


def test_fewer_products_are_quantised_the_more_are_spared(
    tiny_classifier: Path, tiny_ir: Path, tmp_path: Path
) -> None:
    (tmp_path / "f32.xml").write_bytes(model_path(tiny_ir, "f32").read_bytes())
    (tmp_path / "f32.bin").write_bytes((tiny_ir / "f32.bin").read_bytes())
    encoder = Encoder(tiny_classifier, max_tokens=16)
    quantised = []
    for count in (0, 1, None):
        openvino_conversion.quantise_to_int8(
            tmp_path, encoder, TEXTS[:2], unquantised_products=count
        )
        quantised.append(node_types(model_path(tmp_path, "int8"))["FakeQuantize"])
    assert quantised[0] > quantised[1] > quantised[2] > 0
    assert node_types(model_path(tmp_path, "f32"))["FakeQuantize"] == 0


def test_conversion_logs_nothing_that_is_no_matter_of_the_user(
    tiny_classifier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warning_once.cache_clear()
    caplog.set_level(logging.INFO, logger="tasks")
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    try:
        openvino_conversion.convert_to_openvino(tiny_classifier, tmp_path / "openvino")
    finally:
        library.removeHandler(caplog.handler)
    assert caplog.messages == []


def test_the_last_layer_of_a_converted_model_is_cut(tiny_ir: Path) -> None:
    assert node_types(model_path(tiny_ir, "f32"))["Slice"] >= 2


def test_a_conversion_gives_the_same_bytes_again_in_one_process(
    tiny_classifier: Path, tiny_ir: Path, tmp_path: Path
) -> None:
    # A fingerprint is of these bytes: equal weights share what the cache has.
    for folder in (tmp_path / "first", tmp_path / "second"):
        openvino_conversion.convert_to_openvino(tiny_classifier, folder)
    for name in ("f32.xml", "f32.bin"):
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes() == (tiny_ir / name).read_bytes()
