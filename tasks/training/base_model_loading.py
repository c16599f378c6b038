"""Load a base model as a classifier of the labels, or refuse it before the training."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from tasks.common.errors import ModelError
from tasks.training.finetuned_model import quiet_transformers
from tasks.training.token_limit import check_token_limit
from tasks.training.types import FineTuneParameters

logger = logging.getLogger(__name__)

_ONE_LABEL_A_TEXT: Final = "single_label_classification"

# Code of a model's author is never run, and nobody is asked whether it may.
_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_base_model(
    base: Path, labels: Sequence[str], parameters: FineTuneParameters
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer, with a head for `labels`; weights of a new head are random.

    Args:
        base: Folder of the base model.
        labels: Label names in the order of their ids.
        parameters: The seed, the strategy and the length of texts.

    Raises:
        ModelError: If the files are no transformer, do not fit together, or the model cannot read
            `max_tokens`.
    """
    quiet_transformers()
    set_seed(parameters.seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, **_OFFLINE)
        config = AutoConfig.from_pretrained(base, **_OFFLINE)
        _agree_on_padding(base, config, tokenizer)
        model = _load_classifier(base, config, labels)
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # files that do not fit together raise errors of any class
        if isinstance(error, OSError) and error.errno:
            raise
        reason = " ".join(str(error).split())
        raise ModelError(f"base_model: {base}: expected a transformer ({reason})") from error
    _check_tokenizer(base, model, tokenizer)
    most = int(tokenizer.model_max_length)
    check_token_limit(model, tokenizer, parameters.max_tokens, base, most=most)
    tokenizer.model_max_length = parameters.max_tokens
    if parameters.strategy == "freeze":
        for weights in model.base_model.parameters():
            weights.requires_grad = False
    return model, tokenizer


def _agree_on_padding(
    base: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Give model and tokenizer one padding id: the model's, if its tokenizer has that token."""
    padding = getattr(config, "pad_token_id", None)
    if padding in tokenizer.all_special_ids:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    elif tokenizer.pad_token_id is None:
        raise ModelError(f"base_model: {base}: its tokenizer has no padding token; expected one")
    elif padding != tokenizer.pad_token_id:
        # GPT-2 finds the end of a padded text by it.
        config.pad_token_id = tokenizer.pad_token_id


def _load_classifier(
    base: Path, config: PretrainedConfig, labels: Sequence[str]
) -> PreTrainedModel:
    had_head = any("SequenceClassification" in name for name in config.architectures or ())
    outputs, problem = config.num_labels, config.problem_type
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = _ONE_LABEL_A_TEXT
    model: PreTrainedModel
    model, report = AutoModelForSequenceClassification.from_pretrained(
        base,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        use_safetensors=True,
        **_OFFLINE,
    )
    _check_body(model, report)
    if had_head and (outputs != len(labels) or problem not in (None, _ONE_LABEL_A_TEXT)):
        _renew_head(model)
        logger.warning(
            "base_model: %s: its head of %d outputs (%s) is left out; %d labels get a new one",
            base,
            outputs,
            problem or "problem_type not given",
            len(labels),
        )
    return model


def _check_body(model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Refuse weights that are not those of the configuration: transformers would draw new ones."""
    embeddings = _embeddings(model)
    name = next(name for name, weights in model.named_parameters() if weights is embeddings)
    body = f"{model.base_model_prefix}."
    if name in report["missing_keys"]:
        raise ValueError(f"its weights have no {name}")
    if wrong := sorted(key for key, *_ in report["mismatched_keys"] if key.startswith(body)):
        raise ValueError(f"the weights {wrong[0]} have another shape than its configuration says")


def _embeddings(model: PreTrainedModel) -> torch.Tensor:
    """Return the vectors of the tokens, of shape (tokens, width)."""
    weights: torch.Tensor = model.get_input_embeddings().get_parameter("weight")
    return weights


def _renew_head(model: PreTrainedModel) -> None:
    for name, part in model.named_children():
        if name != model.base_model_prefix:
            for layer in part.modules():
                if callable(reset := getattr(layer, "reset_parameters", None)):
                    reset()


def _check_tokenizer(
    base: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    if not tokenizer.is_fast:
        raise ModelError(
            f"base_model: {base}: its tokenizer is a {type(tokenizer).__name__}; "
            "expected one of the tokenizers library, as tokenizer.json"
        )
    rows, highest = len(_embeddings(model)), max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(
            f"base_model: {base}: its tokenizer has the token id {highest}; expected less than "
            f"{rows}, the tokens that the model has embeddings for"
        )
