"""The tokenizer of a static classifier: trained on its texts, or that of its teacher."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from pyfunc.static.features import Space
from pyfunc.tokens import read_config

TOKENIZER_FILE, SETTINGS_FILE = "tokenizer.json", "tokenizer_config.json"

_MOST_TOKENS = 30_000
_FEWEST_TOKENS = 512  # the bytes, and some more
_MOST_BUCKETS = 2**18
# Of tokens, and of buckets, times labels: the solver keeps some twenty copies.
_MOST_WEIGHTS = 2**20

_SPLIT_BY_WORDS = pre_tokenizers.ByteLevel(add_prefix_space=True)


def train_tokenizer(texts: Iterable[str], folder: Path, *, max_tokens: int, labels: int) -> None:
    """Train a byte-level BPE on texts and write its files into `folder`.

    It reads any language: it has no unknown token. WordPiece would be another one in each process,
    as the library's trainer visits pairs of equal counts in the order of a hash map.

    Args:
        texts: Those of the training.
        folder: An empty folder.
        max_tokens: Longer texts are cut to this many tokens.
        labels: How many logits a token has.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = _SPLIT_BY_WORDS
    trainer = trainers.BpeTrainer(
        vocab_size=max(_FEWEST_TOKENS, min(_MOST_TOKENS, _MOST_WEIGHTS // labels)),
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    _write_settings(folder, {}, max_tokens)


def copy_tokenizer(teacher: Path, folder: Path, *, max_tokens: int) -> None:
    """Copy the tokenizer of a fine-tuned model, so that a cascade tokenises a text once.

    Args:
        teacher: Folder of the fine-tuned model.
        folder: An empty folder.
        max_tokens: Longer texts are cut to this many tokens.

    Raises:
        ArtifactError: If a file is missing or cannot be used.
    """
    shutil.copyfile(teacher / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    _write_settings(folder, read_config(teacher, SETTINGS_FILE), max_tokens)


def feature_space(folder: Path, labels: int) -> Space:
    """Return the features of texts that the tokenizer in `folder` tokenises.

    Args:
        folder: Holds the tokenizer.
        labels: How many logits a feature has; more labels get fewer buckets.
    """
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    special = tokenizer.get_added_tokens_decoder().items()
    most = min(_MOST_BUCKETS, _MOST_WEIGHTS // labels)
    return Space(
        tokens=max(tokenizer.get_vocab().values()) + 1,
        buckets=1 << (most.bit_length() - 1),
        ignored=tuple(sorted(number for number, token in special if token.special)),
    )


def _write_settings(folder: Path, settings: dict[str, object], max_tokens: int) -> None:
    text = json.dumps(settings | {"model_max_length": max_tokens}, indent=2) + "\n"
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
