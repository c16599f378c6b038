"""A classifier's last layer, computed for the one token that its head reads.

BERT and its kin classify by the first token's vector, so that of the last layer only keys and
values are needed for the others. The answers stay the same; of six layers' products a seventh is
saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfunc.openvino_engine import import_openvino

if TYPE_CHECKING:
    from openvino import Model, Node

ops = import_openvino().opset13

# What computes each token's vector from that token alone.
_TOKENWISE = frozenset(
    {"Add", "Divide", "Gelu", "MatMul", "MVN", "Multiply", "Relu", "Reshape", "Subtract", "Swish"}
    | {"Tanh", "Transpose"}
)
_ATTENTION = "ScaledDotProductAttention"
_QUERY, _KEY, _VALUE = range(3)

_TOKENS = 1  # the axis in (rows, tokens, width)
_QUERIES = 2  # the axis in (rows, heads, queries, width) and (rows, 1, queries, keys)


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
