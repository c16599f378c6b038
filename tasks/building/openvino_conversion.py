"""Convert a fine-tuned model to OpenVINO: f32, and int8 quantised with NNCF.

BERT and its kin classify by the first token's vector, so that of the last layer only keys and
values are needed for the other tokens. `keep_first_token` cuts the rest out of the converted model.
The answers stay the same; of six layers' products a seventh is saved.
"""

from __future__ import annotations

import logging
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

# What computes each token's vector from that token alone.
_TOKENWISE = frozenset(
    {"Add", "Divide", "Gelu", "MatMul", "MVN", "Multiply", "Relu", "Reshape", "Subtract", "Swish"}
    | {"Tanh", "Transpose"}
)
_ATTENTION = "ScaledDotProductAttention"
_QUERY, _KEY, _VALUE = range(3)

_TOKENS = 1  # the axis in (rows, tokens, width)
_QUERIES = 2  # the axis in (rows, heads, queries, width) and (rows, 1, queries, keys)


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


def keep_first_token(model: Model) -> int:
    """Cut what the head does not read out of a converted model, in place.

    Returns:
        The inputs that were cut to the first token; 0 if the head reads more than that, or the
        model is of a form that is not known here, and is left as it is.
    """
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    head = next((name for name, node in nodes.items() if _reads_first_token(node)), None)
    if head is None:
        return 0
    needed = _needed_once(nodes, head)
    cuts = [cut for name in needed for cut in _cuts(nodes[name], needed)]
    if not any(nodes[name].get_type_name() == _ATTENTION for name in needed):
        return 0
    if any(_has_other_rank(node, place) for node, place in cuts):
        return 0
    for node, place in cuts:
        axis = _QUERIES if node.get_type_name() == _ATTENTION else _TOKENS
        first = ops.slice(node.input_value(place), *(np.array([n]) for n in (0, 1, 1, axis)))
        node.input(place).replace_source_output(first.output(0))
    model.validate_nodes_and_infer_types()
    return len(cuts)


def _reads_first_token(node: Node) -> bool:
    if node.get_type_name() != "Gather" or _rank(node, 0) != 3:
        return False
    index, axis = (_constant(node, place) for place in (1, 2))
    return index is not None and index.ndim == 0 and int(index) == 0 and axis == _TOKENS


def _needed_once(nodes: dict[str, Node], head: str) -> list[str]:
    """Return what only the head's token is needed of: all that is used by nothing else."""
    needed: list[str] = []
    for name, node in reversed(nodes.items()):
        users = [
            (target.get_node(), target.get_index())
            for port in node.outputs()
            for target in port.get_target_inputs()
        ]
        if _is_tokenwise(node) and all(
            user.get_friendly_name() == head
            or (user.get_friendly_name() in needed and _carries_queries(user, place))
            for user, place in users
        ):
            needed.append(name)
    return needed


def _is_tokenwise(node: Node) -> bool:
    if node.get_type_name() == "Reshape":
        shape = _constant(node, 1)
        # 0 keeps a dimension as it is, and so follows the cut.
        return shape is not None and 0 in shape.tolist()[1:] and -1 not in shape.tolist()
    return node.get_type_name() in _TOKENWISE or node.get_type_name() == _ATTENTION


def _carries_queries(user: Node, place: int) -> bool:
    return place == _QUERY or user.get_type_name() != _ATTENTION


def _cuts(node: Node, needed: list[str]) -> Iterator[tuple[Node, int]]:
    """Yield the inputs of a node that still have all tokens."""
    for place, value in enumerate(node.input_values()):
        source = value.get_node()
        if source.get_type_name() == "Constant" or source.get_friendly_name() in needed:
            continue
        if node.get_type_name() != _ATTENTION or place not in (_KEY, _VALUE):
            yield node, place


def _has_other_rank(node: Node, place: int) -> bool:
    return _rank(node, place) != (4 if node.get_type_name() == _ATTENTION else 3)


def _rank(node: Node, place: int) -> int:
    rank = node.input_value(place).get_partial_shape().rank
    return rank.get_length() if rank.is_static else 0


def _constant(node: Node, place: int) -> Any:
    source = node.input_value(place).get_node()
    return source.get_data() if source.get_type_name() == "Constant" else None
