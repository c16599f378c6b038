"""Each engine answers what transformers answers, and the machine gets the fastest it can run."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Never

import numpy as np
import openvino
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyfunc import engines
from pyfunc.classifier import Classifier
from pyfunc.cores import usable_cores
from pyfunc.engines import choose, hindrance, open_engine, open_fastest
from pyfunc.errors import ArtifactError
from pyfunc.openvino_engine import OpenVinoEngine, model_path
from pyfunc.pipeline import InferencePipeline, open_pipeline
from pyfunc.spec import Precision, Variant
from pyfunc.torch_engine import TorchEngine
from tasks.settings import REPOSITORY
from tests.builders import ask_pipeline, build_artifact, one_torch_thread
from tests.references import TEXTS, Reference, close

OPENVINO_F32, OPENVINO_BF16, OPENVINO_INT8 = (
    Variant("openvino", "f32"),
    Variant("openvino", "bf16"),
    Variant("openvino", "int8"),
)
TORCH_F32, TORCH_BF16 = Variant("torch", "f32"), Variant("torch", "bf16")

unhurried = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def reference(tiny_classifier: Path) -> Reference:
    return Reference(tiny_classifier)


@pytest.fixture(scope="module")
def artifact(
    tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path, tiny_ir: Path
) -> Path:
    """What the engines are opened from, with all variants."""
    return build_artifact(
        tmp_path_factory.mktemp("artifact") / "all",
        tiny_classifier,
        converted=tiny_ir,
        variants=(OPENVINO_INT8, OPENVINO_BF16, OPENVINO_F32, TORCH_BF16, TORCH_F32),
    )


def classifier_of(artifact: Path, variant: Variant) -> Classifier:
    engine = open_engine(artifact, variant)
    assert engine.variant == variant
    return Classifier(artifact / "classifier", engine, max_tokens=16)


@pytest.fixture(scope="module", params=[OPENVINO_F32, TORCH_F32], ids=str)
def exact(artifact: Path, request: pytest.FixtureRequest) -> Classifier:
    """A classifier that computes in f32, by each engine."""
    return classifier_of(artifact, request.param)


# The answers


def test_probabilities_are_those_of_transformers(exact: Classifier, reference: Reference) -> None:
    expected = [reference.probabilities(text) for text in TEXTS]
    assert max(abs(row[0] - expected[0][0]) for row in expected) > 0.1
    assert exact.probabilities(TEXTS, batch_tokens=64).tolist() == close(expected)


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
    if reason := hindrance(variant):
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
    if reason := hindrance(variant):
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
from pyfunc.openvino_engine import OpenVinoEngine
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
    encoder, engine = exact._encoder, exact.engine
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
    monkeypatch.setattr("pyfunc.openvino_engine.usable_cores", lambda: cores)
    engine = OpenVinoEngine(tiny_ir, "f32")
    assert (engine.streams, engine.callers) == (cores, 2 * cores)
    assert engine._model.get_property("NUM_STREAMS") == cores
    assert engine._model.get_property("INFERENCE_NUM_THREADS") == cores


def test_torch_has_no_more_threads_than_there_are_cores_to_use(
    tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    for cores, threads in ((64, 2), (1, 1)):
        monkeypatch.setattr("pyfunc.torch_engine.usable_cores", lambda cores=cores: cores)
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


# The choice


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this machine lack what computes some variants, and a GPU unless it has one."""

    def lack(*variants: Variant, cuda: bool = False) -> None:
        monkeypatch.setattr(engines, "has_cuda", lambda: cuda)
        monkeypatch.setattr(
            engines, "hindrance", lambda variant: "not here" if variant in variants else ""
        )

    return lack


VARIANTS = (OPENVINO_BF16, OPENVINO_F32, TORCH_BF16, TORCH_F32)


def test_the_first_variant_is_chosen_where_nothing_hinders_it(
    lacking: Callable[..., None],
) -> None:
    lacking()
    assert choose(VARIANTS) == (OPENVINO_BF16, "")


def test_the_first_that_the_machine_can_compute_is_chosen_with_the_reasons_of_those_before(
    lacking: Callable[..., None],
) -> None:
    lacking(OPENVINO_BF16, OPENVINO_F32, TORCH_F32)
    assert choose(VARIANTS) == (TORCH_BF16, "openvino bf16: not here; openvino f32: not here")


def test_a_gpu_puts_torch_first(lacking: Callable[..., None]) -> None:
    lacking(cuda=True)
    assert choose(VARIANTS) == (TORCH_BF16, "")
    lacking(TORCH_BF16, cuda=True)
    assert choose(VARIANTS) == (TORCH_F32, "torch bf16: not here")
    lacking(TORCH_BF16, TORCH_F32, cuda=True)
    assert choose(VARIANTS) == (OPENVINO_BF16, "torch bf16: not here; torch f32: not here")


def test_int8_that_gives_way_to_a_gpu_is_told(lacking: Callable[..., None]) -> None:
    lacking(cuda=True)
    reason = "openvino int8: for CPUs alone, and there is a GPU"
    assert choose((OPENVINO_INT8, *VARIANTS)) == (TORCH_BF16, reason)
    assert choose((OPENVINO_INT8, OPENVINO_F32)) == (OPENVINO_INT8, "")


def test_a_machine_that_can_compute_none_is_told_why(lacking: Callable[..., None]) -> None:
    lacking(*VARIANTS)
    with pytest.raises(ArtifactError, match="no engine for this machine: openvino bf16: not here;"):
        choose(VARIANTS)


def test_a_variant_that_does_not_compile_here_makes_room_for_the_next(
    artifact: Path, lacking: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking()

    def compile_model(*_: object) -> Never:
        raise RuntimeError("no primitive\nfor Softmax_1")

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    engine, fallback = open_fastest(artifact, (OPENVINO_F32, TORCH_F32))
    assert engine.variant == TORCH_F32
    assert fallback == ("openvino f32: it does not compile here (no primitive for Softmax_1)")
    with pytest.raises(ArtifactError, match="no engine for this machine: openvino f32: it does"):
        open_fastest(artifact, (OPENVINO_F32,))


def test_a_variant_whose_files_are_damaged_makes_no_room_for_the_next(
    artifact: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(artifact, tmp_path / "damaged")
    model_path(damaged / "openvino", "f32").with_suffix(".bin").unlink()
    with pytest.raises(ArtifactError, match=r"f32\.xml: expected a converted model"):
        open_fastest(damaged, (OPENVINO_F32, TORCH_F32))


def test_a_library_that_is_not_installed_hinders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert hindrance(OPENVINO_F32) == "openvino is not installed"
    assert hindrance(TORCH_F32) == "torch is not installed"


def test_instructions_that_the_processor_lacks_hinder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openvino_engine", "torch_engine"):
        monkeypatch.setattr(f"pyfunc.{name}.formats", lambda: {"f32"})
    assert hindrance(OPENVINO_BF16) == "no bf16 instructions here"
    assert hindrance(OPENVINO_INT8) == "no int8 instructions here"
    assert hindrance(TORCH_BF16) == "no bf16 instructions here"
    assert hindrance(OPENVINO_F32) == hindrance(TORCH_F32) == ""


def test_torch_has_no_int8() -> None:
    assert hindrance(Variant("torch", "int8")) == "no int8 instructions here"


# A pipeline


def opened(artifact: Path, cache: Path) -> InferencePipeline:
    pipeline = open_pipeline(
        artifact, model_uri="models:/m-1", model_config={"cache_dir": str(cache)}
    )
    assert isinstance(pipeline, InferencePipeline)
    return pipeline


def test_a_fallback_is_logged_once_with_its_reason_and_told(
    artifact: Path,
    tmp_path: Path,
    lacking: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    reference: Reference,
) -> None:
    lacking(OPENVINO_INT8, OPENVINO_BF16, OPENVINO_F32, TORCH_BF16)
    pipeline = opened(artifact, tmp_path / "cache")
    for _ in range(2):
        documents = ask_pipeline(pipeline, ["Great movie"], use_cache=False)
    assert documents[0]["response"]["prediction_score"] == pytest.approx(
        max(reference.probabilities("Great movie")), abs=1e-5
    )
    (warning,) = [row for row in caplog.records if row.levelno >= logging.WARNING]
    assert warning.getMessage() == (
        "torch f32 answers (openvino int8: not here; openvino bf16: not here; "
        "openvino f32: not here; torch bf16: not here)"
    )
    assert pipeline.fallback in warning.getMessage()
    assert (pipeline.variant, pipeline.device) == (TORCH_F32, "cpu")


def test_a_pipeline_that_computes_as_it_was_built_to_warns_of_nothing(
    artifact: Path,
    tmp_path: Path,
    lacking: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    lacking()
    pipeline = opened(artifact, tmp_path / "cache")
    assert (pipeline.variant, pipeline.fallback) == (OPENVINO_INT8, "")
    assert [row for row in caplog.records if row.levelno >= logging.WARNING] == []


def test_answers_of_one_variant_are_not_those_of_another_in_the_cache(
    artifact: Path, tmp_path: Path, lacking: Callable[..., None]
) -> None:
    texts = ["Great movie", "what a disappointing movie"]
    for missing in ((), (OPENVINO_INT8,), (OPENVINO_INT8, OPENVINO_BF16, OPENVINO_F32)):
        lacking(*missing)
        pipeline = opened(artifact, tmp_path / "cache")
        assert pipeline.count_stored(texts) == 0
        ask_pipeline(pipeline, texts)
        assert pipeline.count_stored(texts) == 2


def in_a_process(script: str, *arguments: object, **environment: str) -> list[str]:
    child = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()


def test_an_openvino_pipeline_loads_neither_torch_nor_transformers(
    tiny_classifier: Path, tiny_ir: Path, tmp_path: Path
) -> None:
    folder = build_artifact(
        tmp_path / "artifact",
        tiny_classifier,
        converted=tiny_ir,
        variants=(OPENVINO_F32, TORCH_F32),
    )
    script = """
import sys
from pathlib import Path
from pyfunc.pipeline import open_pipeline
pipeline = open_pipeline(
    Path(sys.argv[1]), model_uri="models:/m-1", model_config={"cache_dir": sys.argv[2]}
)
pipeline.predict(["Great movie"], use_cache=True, batch_tokens=64)
print(pipeline.variant, sorted({"openvino", "torch", "transformers"} & set(sys.modules)))
"""
    assert in_a_process(script, folder, tmp_path / "cache") == ["openvino f32 ['openvino']"]


def test_nothing_is_reported_to_anyone_when_a_model_is_converted_and_quantised(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    # OpenVINO's telemetry reports from a fork, unless the environment is that of a CI job.
    script = """
import os, socket, sys
from pathlib import Path
classifier, folder, log = map(Path, sys.argv[1:])
calls = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        os.write(calls, f"{event} {arguments}\\n".encode())
sys.addaudithook(note)
from pyfunc.openvino_engine import OpenVinoEngine
from pyfunc.tokens import Encoder
from tasks import conversion
conversion.convert(classifier, folder)
texts = ["a good film", "a bad film"] * 4
conversion.quantise(folder, Encoder(classifier, max_tokens=16), texts, spared=1)
OpenVinoEngine(folder, "int8")
socket.getaddrinfo("localhost", 9)
"""
    home = tmp_path / "home"
    home.mkdir()
    in_a_process(script, tiny_classifier, tmp_path / "ir", tmp_path / "log", HOME=str(home))
    (own,) = (tmp_path / "log").read_text().splitlines()
    assert own.startswith("socket.getaddrinfo ('localhost', 9")
    assert not (home / "intel").exists()
