"""Fine-tuned models brought from MLflow into one folder that the pipeline can load."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import transformers
from mlflow.exceptions import MlflowException
from transformers import AutoTokenizer

from pyfunc.classifier import Classifier
from pyfunc.engines.torch import TorchEngine
from tasks.common.errors import ModelError


def quiet_transformers() -> None:
    """Keep transformers from reporting each weight that it loads or makes."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def load_classifier(folder: Path) -> Classifier:
    """Load a fine-tuned model in float32, reading as many tokens as it was trained to."""
    return Classifier(folder, TorchEngine(folder, "f32"), max_tokens=max_tokens_of(folder))


def max_tokens_of(folder: Path) -> int:
    """Return the number of tokens that a fine-tuned model in `folder` was trained to read."""
    return int(AutoTokenizer.from_pretrained(folder, local_files_only=True).model_max_length)


@contextmanager
def classifier_folder(model_uri: str) -> Iterator[Path]:
    """Yield a temporary folder with a fine-tuned model's weights, configuration and tokenizer.

    Args:
        model_uri: A model that was logged in MLflow's transformers flavour.

    Raises:
        ModelError: If there is no such model, or it is of another kind.
    """
    with tempfile.TemporaryDirectory(prefix="millstream-") as name:
        try:
            logged = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=f"{name}/logged"))
        except MlflowException as error:
            raise ModelError(
                f"{model_uri}: expected a fine-tuned model ({error.message})"
            ) from error
        folder = Path(name) / "classifier"
        for part in (logged / "model", logged / "components" / "tokenizer"):
            if not part.is_dir():
                raise ModelError(f"{model_uri}: has no {part.name}; expected a transformers model")
            shutil.copytree(part, folder, dirs_exist_ok=True)
        shutil.rmtree(logged)
        yield folder
