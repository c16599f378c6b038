"""Fixtures of all tests; `tests/conftest.py` loads them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flows  # noqa: F401 -- prepares the process

# isort: split
import hypothesis
import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from pyfunc.tokens import Encoder
from tasks.building import openvino_conversion
from tasks.common.settings import REPOSITORY, get_settings
from tasks.promotion.aliases import promote_by_hand
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import (
    COMPOSITION,
    Composed,
    Trained,
    build_composed,
    build_trained,
    build_unverified,
    use_home,
)
from tests.support.built_once import BuiltHome, built_once, copied_home, home_built_once
from tests.support.operation import Operation, in_operation
from tests.support.postgres import Postgres, running_postgres
from tests.support.prefect_server import make_database, prefect_server
from tests.support.references import TEXTS
from tests.support.s3 import S3, running_s3, use_endpoint
from tests.support.scoring_command import state_folder
from tests.support.tiny_models import LABELS, save_tiny_base, save_tiny_classifier
from tests.support.webhook import Webhook, webhook

# On busy cores any example may take a second.
hypothesis.settings.register_profile("millstream", deadline=None)
hypothesis.settings.load_profile("millstream")


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new database of Prefect; nobody may change it."""
    return built_once(tmp_path_factory, "prefect", make_database)


@pytest.fixture(scope="session")
def prefect_harness(prefect_database: Path) -> Iterator[None]:
    """A Prefect server for all tests of a process; it keeps no task runs."""
    with prefect_server(prefect_database, keeps_events=False):
        yield


@pytest.fixture(scope="module")
def prefect_with_events(prefect_harness: None, prefect_database: Path) -> Iterator[None]:
    """A Prefect server that keeps all that a run reports to it."""
    with prefect_server(prefect_database, keeps_events=True):
        yield


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Iterator[None]:
    """MLflow's functions begin a run if there is none, which fails later tests, or is committed."""
    default_runs = REPOSITORY / "mlruns"  # where MLflow's default experiment writes
    before = default_runs.exists()
    yield
    left = mlflow.active_run()
    mlflow.end_run()
    assert left is None
    assert default_runs.exists() == before


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for all tests of a process; each makes a database of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3]:
    with running_s3() as server:
        yield server


@pytest.fixture
def s3(_s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 server for all tests of a process, where boto3 finds it; each makes its buckets."""
    use_endpoint(_s3_server.endpoint, monkeypatch)
    return _s3_server


@pytest.fixture(scope="session")
def _new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database of a new state folder, which it takes three seconds to make."""

    def build(folder: Path) -> None:
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments(max_results=1)

    return built_once(tmp_path_factory, "mlflow", build) / "mlflow.db"


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
    return built_once(tmp_path_factory, "tiny-base", save_tiny_base)


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT classifier with MiniLM's tokenizer, ready to predict."""
    return built_once(
        tmp_path_factory, "tiny-classifier", lambda folder: save_tiny_classifier(folder, seed=1)
    )


@pytest.fixture(scope="session")
def tiny_ir(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> Path:
    """`tiny_classifier` in OpenVINO's form, in f32 and in int8."""

    def build(folder: Path) -> None:
        openvino_conversion.convert_to_openvino(tiny_classifier, folder)
        encoder = Encoder(tiny_classifier, max_tokens=16)
        openvino_conversion.quantise_to_int8(folder, encoder, TEXTS, unquantised_products=None)

    return built_once(tmp_path_factory, "tiny-ir", build)


@pytest.fixture(scope="session")
def labelled_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 labelled rows that a tiny model can learn."""

    def build(folder: Path) -> None:
        rows = [
            (f"a {'great' if row % 2 else 'awful'} film, number {row}", LABELS[row % 2])
            for row in range(300)
        ]
        reviews = pd.DataFrame(rows, columns=["text", "label"])
        reviews.to_csv(folder / "reviews.csv", index=False)

    return built_once(tmp_path_factory, "data", build) / "reviews.csv"


@pytest.fixture(scope="session")
def _trained_original(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    labelled_csv: Path,
) -> BuiltHome:
    return home_built_once(
        tmp_path_factory, "trained", lambda _: build_trained(tiny_base, labelled_csv)
    )


@pytest.fixture(scope="session")
def _trained_once(
    _trained_original: BuiltHome, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    home = tmp_path_factory.mktemp("trained") / "var"
    return Trained(home, **_trained_original.copied(home))


@pytest.fixture
def trained(_trained_once: Trained, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    """A state folder with a tiny model and its pipeline registered; tests share it."""
    use_home(_trained_once.home, monkeypatch)
    client = connect()  # tests before may have pointed MLflow elsewhere
    aliases = client.get_registered_model(PIPELINE_MODEL).aliases
    yield _trained_once
    # A test that promotes takes `trained_anew`, or the tests after it score with its version.
    assert client.get_registered_model(PIPELINE_MODEL).aliases == aliases
    get_settings.cache_clear()


@pytest.fixture
def trained_anew(
    _trained_original: BuiltHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trained]:
    """The same state folder for one test alone, to train, build and promote in."""
    home = tmp_path / "trained"
    copied = Trained(home, **_trained_original.copied(home))
    use_home(home, monkeypatch)
    connect()
    yield copied
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def _two_versions_once(
    _trained_original: BuiltHome, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    finetuned = _trained_original.report["training"]["finetuned_model"]
    champion = _trained_original.report["pipeline"]["inference_pipeline_model"]

    def build(home: Path) -> dict[str, Any]:
        state_folder(_trained_original.home, home)
        built = build_unverified(finetuned, max_tokens=8)
        uris = {"champion": champion, "challenger": built["inference_pipeline_model"]}
        for alias, uri in uris.items():
            connect().set_registered_model_alias(PIPELINE_MODEL, alias, uri.rpartition("/")[2])
        return {}

    home = tmp_path_factory.mktemp("two-versions") / "var"
    home_built_once(tmp_path_factory, "two-versions", build).copied(home)
    return home


@pytest.fixture
def two_versions(
    trained: Trained, _two_versions_once: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A state folder with a champion, and a challenger that cuts texts after eight tokens."""
    use_home(_two_versions_once, monkeypatch)
    connect()
    return _two_versions_once


@pytest.fixture
def own_versions(
    two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A copy of `two_versions` for a test that moves aliases."""
    use_home(copied_home(two_versions, tmp_path / "var"), monkeypatch)
    connect()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def _composed_once(
    _trained_original: BuiltHome, tmp_path_factory: pytest.TempPathFactory
) -> Composed:
    finetuned = _trained_original.report["training"]["finetuned_model"]

    def build(home: Path) -> dict[str, Any]:
        state_folder(_trained_original.home, home)
        connect()
        lengths = {"kind": 8, "quick": 4, "film": 32}
        uri = build_composed(COMPOSITION, {name: (finetuned, lengths[name]) for name in lengths})
        promote_by_hand(uri, "composed")
        return {"uri": uri}

    home = tmp_path_factory.mktemp("composed") / "var"
    report = home_built_once(tmp_path_factory, "composed", build).copied(home)
    return Composed(home, finetuned=finetuned, uri=report["uri"])


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
