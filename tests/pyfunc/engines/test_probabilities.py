"""Each engine answers what transformers answers, or says which file it cannot use."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyfunc.classifier import Classifier
from pyfunc.cpu_quota import usable_cores
from pyfunc.engines.openvino import OpenVinoEngine, model_path
from pyfunc.engines.selection import open_engine, unsupported_reason
from pyfunc.engines.torch import TorchEngine
from pyfunc.errors import ArtifactError
from pyfunc.spec import Precision, Variant
from tasks.training.finetuned_model import record_inputs
from tests.pyfunc.engines.children import in_a_process
from tests.pyfunc.engines.variants import (
    OPENVINO_BF16,
    OPENVINO_F32,
    OPENVINO_INT8,
    TORCH_BF16,
    TORCH_F32,
)
from tests.support.builders import torch_classifier, weights_of
from tests.support.families import FAMILIES, SENTENCES, save_classifier
from tests.support.references import TEXTS, Reference, close

# The answers

unhurried = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def classifier_of(artifact: Path, variant: Variant) -> Classifier:
    engine = open_engine(weights_of(artifact), variant)
    assert engine.variant == variant
    return Classifier(weights_of(artifact) / "classifier", engine, max_tokens=16)


@pytest.fixture(scope="module", params=[OPENVINO_F32, TORCH_F32], ids=str)
def exact(artifact: Path, request: pytest.FixtureRequest) -> Classifier:
    """A classifier that computes in f32, by each engine."""
    return classifier_of(artifact, request.param)


def test_probabilities_are_those_of_transformers(exact: Classifier, reference: Reference) -> None:
    expected = [reference.probabilities(text) for text in TEXTS]
    assert max(abs(row[0] - expected[0][0]) for row in expected) > 0.1
    assert exact.probabilities(TEXTS, batch_tokens=64).tolist() == close(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_get_the_inputs_that_their_tokenizers_make(
    tmp_path: Path, family: str
) -> None:
    folder = save_classifier(tmp_path, family)
    record_inputs(folder)
    reference = Reference(folder, max_tokens=32)
    expected = [reference.probabilities(text) for text in SENTENCES]
    assert len({row.index(max(row)) for row in expected}) > 1
    answers = torch_classifier(folder, max_tokens=32).probabilities(SENTENCES)
    assert answers.tolist() == close(expected)


@unhurried
@given(texts=st.lists(st.text(), max_size=6), batch_tokens=st.integers(1, 200))
def test_probabilities_of_any_texts_are_those_of_transformers(
    exact: Classifier, reference: Reference, texts: list[str], batch_tokens: int
) -> None:
    expected = [reference.probabilities(text) for text in texts]
    assert exact.probabilities(texts, batch_tokens).tolist() == close(expected)


@pytest.mark.parametrize(
    ("variant", "tolerance"),
    [(OPENVINO_BF16, 0.05), (TORCH_BF16, 0.05), (OPENVINO_INT8, 0.15)],
    ids=str,
)
def test_coarser_formats_give_close_answers(
    artifact: Path, reference: Reference, variant: Variant, tolerance: float
) -> None:
    if reason := unsupported_reason(variant):
        pytest.skip(reason)
    rough = classifier_of(artifact, variant).probabilities(TEXTS).tolist()
    expected = [reference.probabilities(text) for text in TEXTS]
    assert rough == close(expected, tolerance)
    assert rough != close(expected, 1e-6)


@pytest.mark.parametrize(
    "variant", [OPENVINO_F32, OPENVINO_BF16, OPENVINO_INT8, TORCH_F32], ids=str
)
def test_threads_that_predict_at_once_get_the_answers_they_would_get_alone(
    artifact: Path, variant: Variant
) -> None:
    if reason := unsupported_reason(variant):
        pytest.skip(reason)
    classifier = classifier_of(artifact, variant)
    rotated = [TEXTS[start:] + TEXTS[:start] for start in range(len(TEXTS))] * 6
    alone = [classifier.probabilities(texts).tolist() for texts in rotated]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(classifier.probabilities, rotated))
    assert [rows.tolist() for rows in together] == [close(rows) for rows in alone]


RACE = """
import sys, threading
from pathlib import Path
import numpy as np
from pyfunc.engines.openvino import OpenVinoEngine
from pyfunc.tokens import TokenBatch

engine = OpenVinoEngine(Path(sys.argv[1]), "f32")
start = threading.Barrier(8)
sys.setswitchinterval(1e-6)

def first():
    start.wait()
    engine.logits(TokenBatch(*np.ones((3, 1, 4), np.int64)))
    print("done")

for _ in range(8):
    threading.Thread(target=first, daemon=True).start()
for thread in threading.enumerate()[1:]:
    thread.join()
"""


def test_threads_may_be_the_first_to_ask_a_new_engine_all_at_once(tiny_ir: Path) -> None:
    for _ in range(4):  # an engine that does not see to it waits for ever in about one of two
        assert in_a_process(RACE, tiny_ir) == ["done"] * 8


def test_an_answer_is_the_callers_own_and_stays_as_it_is(exact: Classifier) -> None:
    # OpenVINO hands out views of memory that the next inference of the thread writes to.
    encoder, engine = exact.encoder, exact.engine
    batch, other = (encoder.pad(encoder.encode([text])) for text in ("Great movie", "a bad one"))
    first = engine.logits(batch)
    before = first.copy()
    assert not np.array_equal(engine.logits(other), before)
    assert np.array_equal(first, before)
    assert first.dtype == np.float32


@pytest.mark.parametrize("cores", sorted({1, usable_cores()}))  # OpenVINO takes no more
def test_openvino_has_a_stream_and_a_thread_for_each_core_that_may_be_used(
    tiny_ir: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("pyfunc.engines.openvino.usable_cores", lambda: cores)
    engine = OpenVinoEngine(tiny_ir, "f32")
    assert (engine.streams, engine.callers) == (cores, 2 * cores)
    assert engine._model.get_property("NUM_STREAMS") == cores
    assert engine._model.get_property("INFERENCE_NUM_THREADS") == cores


def test_torch_has_no_more_threads_than_there_are_cores_to_use(
    tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    for cores, threads in ((64, 2), (1, 1)):
        monkeypatch.setattr("pyfunc.engines.torch.usable_cores", lambda cores=cores: cores)
        assert TorchEngine(tiny_classifier, "f32").callers == 1
        assert torch.get_num_threads() == threads


# A converted model that cannot be used


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1_000])


def fill_with_noise(path: Path) -> None:
    path.write_bytes(os.urandom(1_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
@pytest.mark.parametrize("damage", [remove, cut_short, fill_with_noise, empty])
@pytest.mark.parametrize("ending", [".xml", ".bin"])
def test_a_damaged_or_missing_model_is_one_line_that_names_the_file(
    tiny_ir: Path, tmp_path: Path, precision: Precision, damage: Callable[[Path], None], ending: str
) -> None:
    folder = shutil.copytree(tiny_ir, tmp_path / "openvino")
    path = model_path(folder, precision)
    damage(path.with_suffix(ending))
    with pytest.raises(ArtifactError) as error:
        OpenVinoEngine(folder, precision)
    assert str(error.value).startswith(f"{path}: ")
    assert "expected a converted model" in str(error.value)
    assert "\n" not in str(error.value)


def test_bf16_is_computed_from_the_f32_model(tiny_ir: Path) -> None:
    assert model_path(tiny_ir, "bf16") == model_path(tiny_ir, "f32")
    assert model_path(tiny_ir, "int8") != model_path(tiny_ir, "f32")
