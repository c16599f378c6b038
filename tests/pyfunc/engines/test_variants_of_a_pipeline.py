"""A pipeline tells which variant answers and why, and loads and reports nothing beside it."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyfunc.composition.tree import Cascade
from pyfunc.opening import open_pipeline
from pyfunc.pipeline import InferencePipeline
from pyfunc.spec import MemberSpec, PipelineSpec
from tests.pyfunc.engines.children import in_a_process
from tests.pyfunc.engines.variants import (
    OPENVINO_BF16,
    OPENVINO_F32,
    OPENVINO_INT8,
    TORCH_BF16,
    TORCH_F32,
)
from tests.support.builders import ask_pipeline, build_artifact
from tests.support.references import Reference


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


def test_a_fallback_of_one_of_several_members_names_it(
    artifact: Path,
    tmp_path: Path,
    lacking: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    composed = shutil.copytree(artifact, tmp_path / "composed")
    members = {
        name: MemberSpec("models:/f/1", "model", 16, variants)
        for name, variants in {"quick": (TORCH_F32,), "film": (OPENVINO_F32, TORCH_F32)}.items()
    }
    PipelineSpec("full", members, Cascade(("quick", "film"), 0.9)).write(composed)
    lacking()
    pipeline = opened(composed, tmp_path / "cache")
    assert {name: engine.variant for name, engine in pipeline.engines.items()} == {
        "quick": TORCH_F32,
        "film": OPENVINO_F32,
    }
    lacking(OPENVINO_F32)
    assert opened(composed, tmp_path / "cache").fallback == "film: openvino f32: not here"
    assert "torch f32 answers (film: openvino f32: not here)" in caplog.messages


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
from pyfunc.opening import open_pipeline
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
from pyfunc.engines.openvino import OpenVinoEngine
from pyfunc.tokens import Encoder
from tasks.building import openvino_conversion as conversion
conversion.convert_to_openvino(classifier, folder)
texts = ["a good film", "a bad film"] * 4
encoder = Encoder(classifier, max_tokens=16)
conversion.quantise_to_int8(folder, encoder, texts, unquantised_products=1)
OpenVinoEngine(folder, "int8")
socket.getaddrinfo("localhost", 9)
"""
    home = tmp_path / "home"
    home.mkdir()
    in_a_process(script, tiny_classifier, tmp_path / "ir", tmp_path / "log", HOME=str(home))
    (own,) = (tmp_path / "log").read_text().splitlines()
    assert own.startswith("socket.getaddrinfo ('localhost', 9")
    assert not (home / "intel").exists()
