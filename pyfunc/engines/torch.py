"""PyTorch inference engine: the transformer on a GPU, or else on CPUs, in f32 or bf16."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

from ..cpu_quota import usable_cores
from ..errors import ArtifactError
from ..spec import Precision, Variant
from ..tokens import TokenBatch, read_input_names
from .engine import Logits


class TorchEngine:
    """A fine-tuned model of transformers; one batch at a time, on all cores."""

    callers = 1
    streams = 1

    def __init__(self, folder: Path, precision: Precision) -> None:
        """Load the weights, without a download.

        Args:
            folder: Written by `save_pretrained` of the model.
            precision: `bf16` computes under autocast.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
        """
        # torch ignores the CPU quota of a container.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
        self.variant = Variant("torch", precision)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load_model(folder).to(self.device)
        self._names = input_names(self._model, folder)

    @torch.inference_mode()
    def logits(self, batch: TokenBatch) -> Logits:
        """Return the logits, of shape (rows, labels)."""
        inputs = {
            name: torch.from_numpy(array).to(self.device)
            for name, array in batch.inputs(self._names).items()
        }
        with self._autocast():
            logits = self._model(**inputs).logits
        result: Logits = logits.float().cpu().numpy()
        return result

    def _autocast(self) -> AbstractContextManager[object]:
        if self.variant.precision == "bf16":
            return torch.autocast(self.device, dtype=torch.bfloat16)
        return nullcontext()


def load_model(folder: Path) -> Any:
    """Load a fine-tuned sequence classifier of transformers on the CPU, in evaluation mode.

    Raises:
        ArtifactError: If a file is missing or cannot be used.
    """
    try:
        with _silence_transformers():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(
            f"{folder}: expected a classifier and its tokenizer: {reason}"
        ) from error
    # transformers initialises missing weights at random.
    if missing := sorted(report["missing_keys"]):
        raise ArtifactError(f"{folder}: expected the weights of a classifier, without {missing}")
    return model.eval()


@contextmanager
def _silence_transformers() -> Iterator[None]:
    """Turn off progress bars and warnings of transformers for the block."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def input_names(model: Any, folder: Path) -> list[str]:
    """Return the `TokenBatch` arrays that the tokenizer in `folder` makes and the model takes."""
    accepted = inspect.signature(model.forward).parameters
    return [name for name in read_input_names(folder) if name in accepted]


def supported_precisions() -> set[Precision]:
    """Return the precisions that the GPU, or else the CPU, has instructions for."""
    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        has_bf16 = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return {"f32", "bf16"} if has_bf16 else {"f32"}
