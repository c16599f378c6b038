"""A static classifier: its definition, its files, and independence of order and company."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pyfunc.classifier import Classifier
from pyfunc.engines.selection import open_engine, unsupported_reason
from pyfunc.errors import ArtifactError
from pyfunc.spec import Variant
from pyfunc.static.features import Space, find_features
from pyfunc.static.model import StaticModel, is_static
from pyfunc.tokens import TokenBatch
from tasks.static_model.reference import StaticReference
from tests.support.builders import build_artifact
from tests.support.references import TEXTS
from tests.support.static_models import static_classifier, write_random_static

WORDS = st.lists(
    st.sampled_from(["a", "good", "bad", "film", "très", "很好", "!", "it's"]), max_size=30
)
SOME_TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_static(tmp_path_factory.mktemp("static") / "classifier", TEXTS)


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return static_classifier(folder)


@given(SOME_TEXTS)
def test_it_answers_as_its_definition(
    folder: Path, classifier: Classifier, texts: list[str]
) -> None:
    logits = StaticReference(folder, max_tokens=16).logits(texts)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(classifier.probabilities(texts, 64) - expected).max() < 1e-5


@given(SOME_TEXTS, st.integers(1, 200))
def test_an_answer_depends_on_neither_order_nor_company(
    classifier: Classifier, texts: list[str], batch_tokens: int
) -> None:
    alone = [classifier.predict([text], all_scores=True)[0] for text in texts]
    assert classifier.predict(texts, batch_tokens, all_scores=True) == alone
    assert classifier.predict(texts[::-1], batch_tokens, all_scores=True) == alone[::-1]


def test_special_tokens_are_no_features_and_part_their_neighbours() -> None:
    ids = np.array([[9, 4, 5, 9, 6, 0]])
    batch = TokenBatch(ids, np.array([[1, 1, 1, 1, 1, 0]]), np.zeros_like(ids))
    rows, features = find_features(batch, Space(tokens=10, buckets=1, ignored=(9,)))
    assert rows.tolist() == [0, 0, 0, 0]
    assert features.tolist() == [4, 5, 6, 10]  # one pair: 4 and 5


def test_a_text_without_features_gets_the_bias(folder: Path) -> None:
    model = StaticModel.read(folder)
    empty = TokenBatch(*np.zeros((3, 2, 4), np.int64))
    assert (model.logits(empty) == model.bias).all()


def test_it_survives_its_files(folder: Path, tmp_path: Path) -> None:
    model = StaticModel.read(folder)
    model.write(tmp_path)
    again = StaticModel.read(tmp_path)
    assert (again.labels, again.space) == (model.labels, model.space)
    assert (again.table == model.table).all()
    assert is_static(tmp_path)


def test_the_engine_is_chosen_by_its_name(folder: Path) -> None:
    variant = Variant("static", "f32")
    assert open_engine(folder.parent, variant).variant == variant
    assert not unsupported_reason(variant)
    assert unsupported_reason(Variant("static", "int8")) == "it has f32 alone"


LOADS_A_PIPELINE = """
import json, sys
from pathlib import Path
artifact = Path(sys.argv[1])
sys.path.insert(0, str(artifact))
from pyfunc.opening import open_pipeline
pipeline = open_pipeline(artifact, model_uri="models:/m-1", model_config={"cache_dir": sys.argv[2]})
answers = pipeline.predict(["a good film"], use_cache=True, batch_tokens=64)
print(json.dumps([answers, sorted({"torch", "transformers", "openvino"} & sys.modules.keys())]))
"""


def test_a_pipeline_of_it_answers_without_the_libraries_of_a_transformer(
    folder: Path, classifier: Classifier, tmp_path: Path
) -> None:
    variants = (Variant("static", "f32"),)
    artifact = build_artifact(tmp_path / "artifact", folder, variants=variants)
    command = [sys.executable, "-I", "-c", LOADS_A_PIPELINE, str(artifact), str(tmp_path / "cache")]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (answer,), loaded = json.loads(done.stdout)
    expected = classifier.predict(["a good film"])[0]
    assert json.loads(answer)["response"] == {
        "prediction_label": expected.label,
        "prediction_score": expected.score,
    }
    assert loaded == []


def cut_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def drop_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def give_it_other_weights(folder: Path) -> None:
    save_file({"table": np.zeros((3, 2), np.float32)}, folder / "model.safetensors")


def edit_config(**values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_the_weights, "model.safetensors: expected the weights of a static classifier"),
        (drop_the_weights, "model.safetensors: expected the weights of a static classifier"),
        (give_it_other_weights, "model.safetensors: has .*; expected "),
        (edit_config(pair_buckets=100), "pair_buckets: 100; expected a power of two"),
        (edit_config(ignored_ids=None), "config.json: expected that of a static classifier"),
        (edit_config(id2label={"1": "a"}), "config.json: expected that of a static classifier"),
    ],
    ids=["cut", "missing", "others", "buckets", "ignored", "labels"],
)
def test_a_damaged_file_is_named(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    StaticModel.read(folder).write(tmp_path)
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        StaticModel.read(tmp_path)
