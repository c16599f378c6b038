"""The longest text that a model reads, in tokens: what its files state, tried out."""

import inspect
from bisect import bisect_left

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.common.errors import ModelError

# For a model that states no limit, such as XLNet: memory grows with the square of the length.
MOST_TOKENS = 4_096


def check_token_limit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    name: object,
    *,
    most: int | None = None,
) -> None:
    """Check that a model reads texts of `max_tokens` tokens, by a text of that length.

    The files alone do not say: position ids of RoBERTa and its kin start after the padding id, so
    that 514 positions are 512 tokens. Beyond the table torch raises, and OpenVINO reads other
    memory.

    Args:
        model: A classifier in evaluation mode.
        tokenizer: Its tokenizer.
        max_tokens: Longer texts will be truncated to this many tokens.
        name: The model, for the message.
        most: The longest that the tokenizer is meant for, if that is known.

    Raises:
        ModelError: If it reads fewer, or no text at all.
    """
    longest = min(max_tokens, _stated_limit(model), most or max_tokens)
    if _reading_error(model, tokenizer, longest):
        least = tokenizer.num_special_tokens_to_add() + 1
        if reason := _reading_error(model, tokenizer, least):
            raise ModelError(f"{name}: expected a model that classifies a text ({reason})")
        lengths = range(least, longest)
        longest = (
            least
            - 1
            + bisect_left(
                lengths, True, key=lambda tokens: bool(_reading_error(model, tokenizer, tokens))
            )
        )
    if longest < max_tokens:
        raise ModelError(f"max_tokens: {max_tokens}; {name} reads {longest} at most")


def _stated_limit(model: PreTrainedModel) -> int:
    positions = getattr(model.config, "max_position_embeddings", None)
    # XLNet states -1.
    return positions if isinstance(positions, int) and positions > 0 else MOST_TOKENS


@torch.no_grad()  # not inference_mode: some models keep tensors for the training
def _reading_error(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int) -> str:
    """Return what torch raises on a text of so many tokens, or an empty string."""
    encoded = tokenizer("a " * tokens, truncation=True, max_length=tokens, return_tensors="pt")
    accepted = inspect.signature(model.forward).parameters
    inputs = {name: array.to(model.device) for name, array in encoded.items() if name in accepted}
    try:
        model(**inputs)
    except (IndexError, RuntimeError) as error:  # beyond a table, or a buffer of that length
        return " ".join(str(error).split())
    return ""
