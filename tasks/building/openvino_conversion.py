"""Convert a fine-tuned model to OpenVINO IR: f32, and int8 by post-training quantisation with NNCF.

BERT-like models classify by the first token's vector, so that the last layer needs only keys and
values of the other tokens. `keep_first_token` removes the rest from the converted model. The
predictions stay the same, with a seventh less computation in a model of six layers.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfunc.engines.openvino import import_openvino, model_path
from pyfunc.engines.torch import input_names, load_model
from pyfunc.tokens import Encoder

if TYPE_CHECKING:
    from openvino import Model, Node

logger = logging.getLogger(__name__)

openvino = import_openvino()
ops = openvino.opset13

# Part of the key of a build: under rule 1, weights had 8 bits. Raise it when another int8 results.
QUANTISATION_RULE = 2

# Operations on each token's vector alone.
_TOKENWISE = frozenset(
    {"Add", "Divide", "Gelu", "MatMul", "MVN", "Multiply", "Relu", "Reshape", "Subtract", "Swish"}
    | {"Tanh", "Transpose"}
)
_QUERY, _KEY, _VALUE = range(3)

_TOKENS = 1  # the axis in (rows, tokens, width)
_QUERIES = 2  # the axis in (rows, heads, queries, width) and (rows, 1, queries, keys)


def convert_to_openvino(classifier: Path, folder: Path) -> None:
    """Write the model as `f32.xml` and `f32.bin`.

    Args:
        classifier: Folder that the model's `save_pretrained` wrote.
        folder: Folder to write to; created if missing.

    Raises:
        ArtifactError: If the model is missing or cannot be used.
        Exception: Any that OpenVINO or torch's tracing raises on a model that it cannot convert.
    """
    import torch

    model = load_model(classifier)
    # Segment 0: the pipeline uses no other, and RoBERTa has no other.
    example = {
        name: torch.full((2, 8), int(name != "token_type_ids"))
        for name in input_names(model, classifier)
    }
    with warnings.catch_warnings():
        # The tracer warns of each Python branch; here they are the same for every batch.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(model, example_input=example)
    logger.debug("converted; %d inputs cut to the first token", keep_first_token(converted))
    folder.mkdir(parents=True, exist_ok=True)
    _save(converted, model_path(folder, "f32"))


def quantise_to_int8(
    folder: Path, encoder: Encoder, texts: Sequence[str], *, unquantised_products: int | None
) -> None:
    """Quantise weights and activations of `f32.xml`; write `int8.xml` and `int8.bin` beside it.

    Args:
        folder: Folder that `convert_to_openvino` wrote to.
        encoder: Tokenises as the pipeline does.
        texts: Calibration texts, like those to be scored; a few hundred.
        unquantised_products: How many matrix products of an activation function's output, counted
            from the first layer, stay in f32; None for all. Their inputs have the widest outliers.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = openvino.Core().read_model(model_path(folder, "f32"))
    names = [port.get_any_name() for port in model.inputs]
    inputs = [encoder.pad([tokens]).inputs(names) for tokens in encoder.encode(texts)]
    unquantised = _products_of_activations(model)[:unquantised_products]
    # NNCF prints its progress to standard output, where the flow prints its summary.
    with redirect_stdout(sys.stderr):
        quantised = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(texts),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=unquantised),
            # Weights of 7 bits: without VNNI, sums of 8 bits saturate, and a version that passed
            # its gates on one machine would answer otherwise on another.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )
    _save(quantised, model_path(folder, "int8"))


def _save(model: Any, path: Path) -> None:
    """Write a model to the same bytes in every process.

    OpenVINO counts the operations of a process to name them, and a fingerprint is of these bytes:
    a build of equal weights would answer nothing from the cache.
    """
    model.set_friendly_name("classifier")
    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{kind}_{number}")
    openvino.save_model(model, path, compress_to_fp16=False)


def _products_of_activations(model: Any) -> list[str]:
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul"
        and node.input_value(0).get_node().get_type_name() in ("Gelu", "Relu", "Swish")
    ]


def keep_first_token(model: Model) -> int:
    """Slice a converted model to the first token wherever the head needs no other, in place.

    Returns:
        How many inputs were sliced; 0 if the head reads other tokens as well, or if the model is
        of another form than BERT. Such a model stays unchanged.
    """
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    head = next((name for name, node in nodes.items() if _reads_first_token(node)), None)
    if head is None:
        return 0
    names = _first_token_nodes(nodes, head)
    if not any(_is_attention(nodes[name]) for name in names):
        return 0
    sliced = [(nodes[name], port) for name in names for port in _ports_to_slice(nodes[name], names)]
    if any(_rank(node, port) != (4 if _is_attention(node) else 3) for node, port in sliced):
        return 0
    for node, port in sliced:
        axis = _QUERIES if _is_attention(node) else _TOKENS
        first = ops.slice(node.input_value(port), *(np.array([n]) for n in (0, 1, 1, axis)))
        node.input(port).replace_source_output(first.output(0))
    model.validate_nodes_and_infer_types()
    return len(sliced)


def _reads_first_token(node: Node) -> bool:
    if node.get_type_name() != "Gather" or _rank(node, 0) != 3:
        return False
    index, axis = (_constant(node, port) for port in (1, 2))
    return index is not None and index.ndim == 0 and int(index) == 0 and axis == _TOKENS


def _first_token_nodes(nodes: dict[str, Node], head: str) -> list[str]:
    """Return the nodes whose first token alone is used, from the head backwards."""
    names: list[str] = []
    for name, node in reversed(nodes.items()):
        users = [
            (target.get_node(), target.get_index())
            for output in node.outputs()
            for target in output.get_target_inputs()
        ]
        if _is_tokenwise(node) and all(
            user.get_friendly_name() == head
            or (user.get_friendly_name() in names and (port == _QUERY or not _is_attention(user)))
            for user, port in users
        ):
            names.append(name)
    return names


def _is_tokenwise(node: Node) -> bool:
    if node.get_type_name() == "Reshape":
        shape = _constant(node, 1)
        # 0 copies a dimension of the input, whether sliced or not.
        return shape is not None and 0 in shape.tolist()[1:] and -1 not in shape.tolist()
    return node.get_type_name() in _TOKENWISE or _is_attention(node)


def _is_attention(node: Node) -> bool:
    return bool(node.get_type_name() == "ScaledDotProductAttention")


def _ports_to_slice(node: Node, names: list[str]) -> Iterator[int]:
    """Yield the inputs of a node that still have all tokens; keys and values need them."""
    for port, value in enumerate(node.input_values()):
        source = value.get_node()
        if source.get_type_name() == "Constant" or source.get_friendly_name() in names:
            continue
        if not _is_attention(node) or port not in (_KEY, _VALUE):
            yield port


def _rank(node: Node, port: int) -> int:
    rank = node.input_value(port).get_partial_shape().rank
    return rank.get_length() if rank.is_static else 0


def _constant(node: Node, port: int) -> Any:
    source = node.input_value(port).get_node()
    return source.get_data() if source.get_type_name() == "Constant" else None
