"""Download a base model from the Hugging Face Hub: the files that are used, within bounds."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from tasks.common.errors import DownloadError, ParameterError, TransientDownloadError
from tasks.common.settings import get_settings
from tasks.common.urls import redact_url
from tasks.ingestion.disk_budget import DiskBudget

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

_USED: Final[dict[str, Any]] = {
    # Weights in another format than safetensors may be pickles.
    "allow_patterns": ["*.json", "*.safetensors", "*.txt", "*.model"],
    # Folders have the model for other frameworks; `consolidated` and `model.fp16` the weights once
    # more.
    "ignore_patterns": ["*/*", "consolidated*.safetensors", "model.*.safetensors"],
}

logger = logging.getLogger(__name__)


def download_from_hub(base_model: str) -> Path:
    """Return the folder of a model in the Hub's cache, with its files of now if the Hub answers.

    Args:
        base_model: A Hugging Face id (`organisation/name`).

    Raises:
        ParameterError: If it is no such id.
        DownloadError: If there is no such model, or what is missing of it is larger than
            `MILLSTREAM_DOWNLOAD_LIMIT` or the free disk; then nothing is fetched.
        TransientDownloadError: If the Hub does not answer, or the transfer breaks.
    """
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return _download(base_model)
    except HFValidationError:
        raise ParameterError(
            f"base_model: {redact_url(base_model)!r} is no folder and no Hugging Face id; "
            "expected 'minilm', an id, or a folder"
        ) from None  # its message quotes a token in the address
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"base_model: {base_model!r} is no folder, and the Hugging Face Hub has no such model "
            "that you may read"
        ) from error
    except OSError as error:  # the Hub client's errors are OSErrors as well
        raise _transient(base_model, error) from error


def _download(base_model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    no_bar: Any = partial(tqdm, disable=True)
    try:
        files = snapshot_download(base_model, dry_run=True, tqdm_class=no_bar, **_USED)
    except DryRunError as error:
        return _cached(base_model, error.__cause__ or error)
    _check_size(base_model, [file for file in files if file.will_download])
    # The version whose size was checked.
    revision = next((file.commit_hash for file in files), None)
    return Path(snapshot_download(base_model, revision=revision, **_USED))


def _cached(base_model: str, reason: BaseException) -> Path:
    """Return the folder of an earlier download, since the Hub does not answer."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = snapshot_download(base_model, local_files_only=True, **_USED)
    except LocalEntryNotFoundError:
        if isinstance(reason, RepositoryNotFoundError):
            raise reason from None
        raise _transient(base_model, reason) from reason
    logger.warning(
        "base_model: the Hugging Face Hub gave %s; the files of an earlier download are used",
        _in_one_line(reason),
    )
    return Path(folder)


def _check_size(base_model: str, missing: "Sequence[DryRunFileInfo]") -> None:
    """Refuse files that are too large, before the first is fetched."""
    from huggingface_hub import constants

    if unknown := [file.filename for file in missing if file.file_size is None]:
        raise DownloadError(
            f"base_model: {base_model!r}: the Hugging Face Hub does not say how large {unknown[0]} "
            "is; expected its size"
        )
    sizes = {file.filename: file.file_size or 0 for file in missing}
    folder = Path(constants.HF_HUB_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    budget = DiskBudget(folder, get_settings().download_limit, "MILLSTREAM_DOWNLOAD_LIMIT")
    if fault := budget.fault(sum(sizes.values())):
        largest = max(sizes, key=lambda name: sizes[name])
        raise DownloadError(
            f"base_model: {base_model!r}: its {len(sizes)} files on the Hugging Face Hub, the "
            f"largest {largest}, have {fault}"
        )


def _transient(base_model: str, reason: BaseException) -> TransientDownloadError:
    return TransientDownloadError(
        f"base_model: {base_model!r} is no folder, and the Hugging Face Hub gave: "
        f"{_in_one_line(reason)}"
    )


def _in_one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
