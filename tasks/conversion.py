"""A fine-tuned model in OpenVINO's form, in f32 and, quantised, in int8."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pyfunc.openvino_engine import import_openvino, model_path
from pyfunc.tokens import Encoder
from pyfunc.torch_engine import input_names, load_model

logger = logging.getLogger(__name__)


def convert(classifier: Path, folder: Path) -> None:
    """Write `f32.xml` and `f32.bin`, of a model that answers as transformers' own.

    Args:
        classifier: Written by `save_pretrained` of the model.
        folder: Where the files go; made if missing.

    Raises:
        ArtifactError: If the model is missing or cannot be used.
        Exception: What OpenVINO or torch's tracing raises on a model that it cannot convert.
    """
    import torch

    openvino = import_openvino()
    from tasks.first_token import keep_first_token

    model = load_model(classifier)
    # Segment 1, which we never ask for, is one that RoBERTa does not have.
    example = {
        name: torch.full((2, 8), int(name != "token_type_ids")) for name in input_names(model)
    }
    with warnings.catch_warnings():
        # The tracer warns of each Python branch, all of which hold for any batch.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(model, example_input=example)
    logger.info("converted; %d inputs cut to the first token", keep_first_token(converted))
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, model_path(folder, "f32"), compress_to_fp16=False)


def quantise(folder: Path, encoder: Encoder, texts: Sequence[str], *, spared: int | None) -> None:
    """Write `int8.xml` and `int8.bin`: weights, and activations by the ranges that `texts` cause.

    Args:
        folder: Has what `convert` wrote.
        encoder: Tokenises as the pipeline does.
        texts: Texts like those to be scored; a few hundred.
        spared: How many of the products that read an activation function, counted from the first
            layer, stay as they are; None spares all. Their inputs have the widest outliers.
    """
    openvino = import_openvino()
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = openvino.Core().read_model(model_path(folder, "f32"))
    names = [port.get_any_name() for port in model.inputs]
    # Its progress goes to standard output, which is the summary's.
    with redirect_stdout(sys.stderr):
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(_inputs(encoder, texts, names))),
            subset_size=len(texts),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=_after_activations(model)[:spared]),
        )
    openvino.save_model(quantised, model_path(folder, "int8"), compress_to_fp16=False)


def _inputs(
    encoder: Encoder, texts: Sequence[str], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for tokens in encoder.encode(texts):
        yield encoder.pad([tokens]).inputs(names)


def _after_activations(model: Any) -> list[str]:
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul"
        and node.input_value(0).get_node().get_type_name() in ("Gelu", "Relu", "Swish")
    ]
