"""Download a fine-tuned model from MLflow into a folder, and what is known of it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import transformers
from mlflow.exceptions import MlflowException
from transformers import AutoTokenizer

from pyfunc.static.model import is_static
from pyfunc.tokens import read_config
from tasks.common.errors import ModelError
from tasks.static_model.flavour import classifier_folder
from tasks.tracking.mlflow_client import connect
from tasks.training.types import TEMPERATURE


def quiet_transformers() -> None:
    """Switch off the progress bars and warnings of transformers."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def max_tokens_of(folder: Path) -> int:
    """Return the number of tokens at which texts were cut in training."""
    if is_static(folder):
        return int(read_config(folder, "tokenizer_config.json")["model_max_length"])
    return int(AutoTokenizer.from_pretrained(folder, local_files_only=True).model_max_length)


def temperature_of(run_id: str) -> float:
    """Return what a training found to divide the logits by; 1 if it looked for nothing."""
    return float(connect().get_run(run_id).data.metrics.get(TEMPERATURE, 1.0))


@contextmanager
def downloaded_classifier(model_uri: str) -> Iterator[Path]:
    """Yield a temporary folder with a fine-tuned model's weights, configuration and tokenizer.

    Args:
        model_uri: A model in MLflow's transformers flavour, or in that of static models.

    Raises:
        ModelError: If there is no such model, or it has another flavour.
    """
    with tempfile.TemporaryDirectory(prefix="millstream-") as name:
        try:
            logged = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=f"{name}/logged"))
        except MlflowException as error:
            raise ModelError(
                f"{model_uri}: expected a fine-tuned model ({error.message})"
            ) from error
        if (static := classifier_folder(logged)) is not None:
            yield static
            return
        folder = Path(name) / "classifier"
        for part in (logged / "model", logged / "components" / "tokenizer"):
            if not part.is_dir():
                raise ModelError(
                    f"{model_uri}: has no {part.name}; expected a transformers or static model"
                )
            shutil.copytree(part, folder, dirs_exist_ok=True)
        shutil.rmtree(logged)
        record_inputs(folder)
        yield folder


def record_inputs(folder: Path) -> None:
    """Write into `tokenizer_config.json` what transformers knows by the tokenizer's class alone.

    The pipeline reads the file without that class: the names of the model's inputs, and the side
    of the padding.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {
        "model_input_names": tokenizer.model_input_names,
        "padding_side": tokenizer.padding_side,
    }
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
