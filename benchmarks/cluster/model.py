"""The model that the benchmark scores with, and the files that it scores."""

import shutil
from pathlib import Path

from benchmarks.learning.state import State
from benchmarks.texts import sample, write_files
from tasks.common.settings import Settings
from tasks.maintenance.relocation import relocate

_MOST_TEXTS = 10_662  # that the data set of snippets has


def prepare_home(home: Path, model_home: Path | None, base_model: str) -> None:
    """Make a state folder with a champion.

    Args:
        home: The folder, which is new.
        model_home: The state folder to copy registry and models from; None trains.
        base_model: What is fine-tuned then.

    Raises:
        FileNotFoundError: If `model_home` has no registry.
        subprocess.CalledProcessError: If a command fails; the log beside the folder says why.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    if model_home is None:
        state = State(home)
        state.run("train_classifier", "--base-model", base_model)
        state.run("build_inference_pipeline")
        return
    home.mkdir()
    # The former folder as its databases name it.
    former = model_home.expanduser().resolve()
    shutil.copyfile(former / "mlflow.db", home / "mlflow.db")
    shutil.copytree(former / "mlartifacts", home / "mlartifacts")
    relocate(Settings().model_copy(update={"home": home}), former)


def write_rows(folder: Path, files: int, rows: int) -> Path:
    """Write files of snippets, of which no two texts are equal, and return their folder."""
    texts = sample("snippets", min(_MOST_TEXTS, files * rows))
    numbered = (f"{texts[n % len(texts)]} {n}" for n in range(files * rows))
    write_files(list(numbered), folder, files)
    return folder
