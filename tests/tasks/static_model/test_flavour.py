"""The MLflow flavour of the static classifier: saved, logged, and loaded without the repository."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from tasks.common.errors import ModelError
from tasks.static_model import flavour
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tests.support.references import TEXTS
from tests.support.static_models import static_classifier, write_random_static

# Loads two models with other code in one process; neither torch nor the repository is there.
LOADS_ELSEWHERE = """
import json, sys
import mlflow, pandas as pd
answers = []
for folder in sys.argv[2:]:
    model = mlflow.pyfunc.load_model(folder)
    rows = model.predict(pd.DataFrame({"text": json.loads(sys.argv[1])}))
    answers.append(rows.to_dict(orient="list"))
print(json.dumps([answers, sorted({"torch", "transformers", "pyfunc"} & sys.modules.keys())]))
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_static(tmp_path_factory.mktemp("flavour") / "classifier", TEXTS)


def test_two_versions_are_loaded_in_a_foreign_folder_without_the_repository(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flavour.save_model(classifier, tmp_path / "one")
    # The next version of the code answers otherwise.
    other = tmp_path / "code" / "pyfunc"
    shutil.copytree(flavour.PACKAGE, other)
    loader = other / "static" / "loader.py"
    source = loader.read_text(encoding="utf-8")
    loader.write_text(source.replace("found.label for", "found.label.upper() for"), "utf-8")
    monkeypatch.setattr(flavour, "PACKAGE", other)
    flavour.save_model(classifier, tmp_path / "two")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-I", "-c", LOADS_ELSEWHERE, json.dumps(TEXTS)]
    done = subprocess.run(
        [*command, str(tmp_path / "one"), str(tmp_path / "two")],
        cwd=elsewhere,
        check=True,
        capture_output=True,
    )
    (first, second), loaded = json.loads(done.stdout.splitlines()[-1])
    expected = static_classifier(classifier).predict(TEXTS)
    assert first["label"] == [prediction.label for prediction in expected]
    assert first["score"] == [prediction.score for prediction in expected]
    assert second["label"] == [label.upper() for label in first["label"]]
    assert loaded == []


@pytest.mark.usefixtures("new_database")
def test_a_logged_model_is_loaded_by_either_flavour(classifier: Path) -> None:
    connect()
    with mlflow.start_run(experiment_id=ensure_experiment("flavours")):
        info = flavour.log_model(classifier, "model")
    uri = f"models:/{info.model_id}"
    expected = static_classifier(classifier).predict(TEXTS)
    assert flavour.load_model(uri).predict(TEXTS) == expected
    rows = pd.DataFrame({"text": TEXTS}, index=range(5, 5 + len(TEXTS)))
    answers = mlflow.pyfunc.load_model(uri).predict(rows)
    assert answers["label"].tolist() == [prediction.label for prediction in expected]
    assert answers.index.equals(rows.index)
    assert set(info.flavors) == {"static_classifier", "python_function"}


def test_its_requirements_have_no_torch(classifier: Path, tmp_path: Path) -> None:
    flavour.save_model(classifier, tmp_path / "model")
    lines = (tmp_path / "model" / "requirements.txt").read_text(encoding="utf-8").split()
    assert lines == flavour.get_default_pip_requirements()
    names = {line.split("==")[0] for line in lines}
    assert names == {"mlflow", "numpy", "pandas", "safetensors", "tokenizers"}


def test_a_folder_with_files_is_not_written_over(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(MlflowException, match="expected no folder, or an empty one"):
        flavour.save_model(classifier, tmp_path)


def test_a_model_of_another_flavour_is_refused(tmp_path: Path) -> None:
    Model().save(tmp_path / "MLmodel")
    with pytest.raises(ModelError, match="has no flavour static_classifier"):
        flavour.load_model(str(tmp_path))
