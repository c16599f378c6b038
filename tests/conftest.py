"""Real parts, made small: a tiny transformer, a real tokenizer, all state in a temporary folder."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Before anything of the project or Prefect is imported: no test may touch the user's state.
_STATE = tempfile.TemporaryDirectory(prefix="millstream-tests-")
os.environ["MILLSTREAM_HOME"] = _STATE.name
os.environ["MILLSTREAM_PROJECT"] = os.devnull
for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME"):
    os.environ.pop(name, None)
# Threads of OpenMP spin while they wait for each other: on cores that others use as well, a
# training takes many times as long with them than without.
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(processes))))

# isort: split
import flows  # noqa: F401 -- prepares the process

# isort: split
import hypothesis
import mlflow
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from prefect.testing.utilities import prefect_test_harness
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from flows.server.temporary import without_heartbeats
from pyfunc.tokens import Encoder
from tasks.building import openvino_conversion, promotion
from tasks.common.settings import get_settings
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tasks.training.base_models import base_model_folder
from tasks.training.finetuned_model import record_inputs
from tests.support.builders import (
    COMPOSITION,
    Composed,
    Trained,
    build_composed,
    build_trained,
    build_unverified,
    use_home,
)
from tests.support.operation import Operation, in_operation
from tests.support.references import TEXTS
from tests.support.scoring_command import state_folder
from tests.support.webhook import Webhook, webhook

LABELS = ("negative", "positive")

# On busy cores any example may take a second.
hypothesis.settings.register_profile("millstream", deadline=None)
hypothesis.settings.load_profile("millstream")


def _refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0])
    if host not in ("localhost", "::1") and not host.startswith("127."):
        raise AssertionError(f"a test connects to {host}; expected no network")


sys.addaudithook(_refuse_the_network)


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """A Prefect server of its own, with a database that goes away."""
    with prefect_test_harness(server_startup_timeout=120), without_heartbeats():
        yield


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Iterator[None]:
    """MLflow's functions begin a run if there is none; it would fail the tests after it."""
    yield
    left = mlflow.active_run()
    mlflow.end_run()
    assert left is None


@pytest.fixture(scope="session")
def _new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database of a new state folder, which it takes three seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)
    return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty state folder."""
    folder = tmp_path / "var"
    use_home(folder, monkeypatch)
    yield folder
    get_settings.cache_clear()


@pytest.fixture
def new_database(home: Path, _new_database: Path) -> None:
    """A new database of MLflow in the state folder."""
    home.mkdir()
    shutil.copy(_new_database, home)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT with MiniLM's tokenizer, to be fine-tuned."""
    folder = tmp_path_factory.mktemp("tiny-base")
    torch.manual_seed(0)
    BertModel(_tiny_config()).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT classifier with MiniLM's tokenizer, ready to predict."""
    return save_tiny_classifier(tmp_path_factory.mktemp("tiny-classifier"), seed=1)


@pytest.fixture(scope="session")
def tiny_ir(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> Path:
    """`tiny_classifier` in OpenVINO's form, in f32 and in int8."""
    folder = tmp_path_factory.mktemp("tiny-ir")
    openvino_conversion.convert_to_openvino(tiny_classifier, folder)
    encoder = Encoder(tiny_classifier, max_tokens=16)
    openvino_conversion.quantise_to_int8(folder, encoder, TEXTS, unquantised_products=None)
    return folder


@pytest.fixture(scope="session")
def labelled_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 labelled rows that a tiny model can learn."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    rows = [
        (f"a {'great' if row % 2 else 'awful'} film, number {row}", LABELS[row % 2])
        for row in range(300)
    ]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def _trained_once(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    labelled_csv: Path,
) -> Trained:
    folder = tmp_path_factory.mktemp("trained") / "var"
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(folder, monkeypatch)
        return build_trained(folder, tiny_base, labelled_csv)


@pytest.fixture
def trained(_trained_once: Trained, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    """A state folder with a tiny model and its pipeline registered; tests share it."""
    use_home(_trained_once.home, monkeypatch)
    connect()  # tests before may have pointed MLflow elsewhere
    yield _trained_once
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def _two_versions_once(_trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = state_folder(_trained_once.home, tmp_path_factory.mktemp("two-versions") / "var")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(home, monkeypatch)
        built = build_unverified(_trained_once.training["finetuned_model"], max_tokens=8)
        champion = _trained_once.pipeline["inference_pipeline_model"]
        uris = {"champion": champion, "challenger": built["inference_pipeline_model"]}
        for alias, uri in uris.items():
            connect().set_registered_model_alias(PIPELINE_MODEL, alias, uri.rpartition("/")[2])
    return home


@pytest.fixture
def two_versions(
    trained: Trained, _two_versions_once: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A state folder with a champion, and a challenger that cuts texts after eight tokens."""
    use_home(_two_versions_once, monkeypatch)
    connect()
    return _two_versions_once


@pytest.fixture(scope="session")
def _composed_once(_trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Composed:
    home = state_folder(_trained_once.home, tmp_path_factory.mktemp("composed") / "var")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(home, monkeypatch)
        connect()
        finetuned = _trained_once.training["finetuned_model"]
        lengths = {"kind": 8, "quick": 4, "film": 32}
        uri = build_composed(COMPOSITION, {name: (finetuned, lengths[name]) for name in lengths})
        promotion.promote_by_hand(uri, "composed")
        return Composed(home, finetuned=finetuned, uri=uri)


@pytest.fixture
def composed(_composed_once: Composed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Composed]:
    """A state folder whose champion is composed of several members; tests share it."""
    use_home(_composed_once.home, monkeypatch)
    connect()
    yield _composed_once
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    """What gets the notifications."""
    with webhook() as hook:
        yield hook


@pytest.fixture(scope="module")
def operation(
    _trained_once: Trained,
    hook: Webhook,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Operation]:
    """Everything up, with a tiny pipeline registered."""
    home = state_folder(_trained_once.home, tmp_path_factory.mktemp("operation") / "100% ; #1")
    with in_operation(home, MILLSTREAM_NOTIFICATION_URL=f"{hook.host}/accepted") as operation:
        yield operation


def save_tiny_classifier(folder: Path, *, seed: int, labels: Sequence[str] = LABELS) -> Path:
    """Save a random two-layer BERT classifier with MiniLM's tokenizer, ready to predict."""
    torch.manual_seed(seed)
    config = _tiny_config(id2label=dict(enumerate(labels)), initializer_range=0.5)
    BertForSequenceClassification(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    record_inputs(folder)
    return folder


def _tiny_config(**fields: Any) -> BertConfig:
    return BertConfig(
        vocab_size=30_522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        **fields,
    )


def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(base_model_folder("minilm"), local_files_only=True)
