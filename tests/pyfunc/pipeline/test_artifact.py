"""The settings of an artifact survive their file, and bad ones are named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyfunc.detectors.fasttext import FastTextDetector
from pyfunc.errors import ArtifactError
from pyfunc.opening import open_pipeline
from pyfunc.pipeline import InferencePipeline
from pyfunc.spec import PipelineSpec, Variant
from tests.pyfunc.pipeline.documents import MODEL_URI
from tests.support.builders import ask_pipeline, build_artifact, single_spec, weights_of

TORCH = Variant("torch", "f32")


def test_the_settings_survive_their_file(tmp_path: Path) -> None:
    variants = (Variant("openvino", "bf16"), TORCH)
    spec = single_spec(
        "plain",
        finetuned_model_uri="models:/été/3",
        max_tokens=17,
        variants=variants,
        temperature=0.7,
    )
    spec = replace(spec, detector="fasttext")
    spec.write(tmp_path)
    assert PipelineSpec.read(tmp_path) == spec


GOOD_VARIANT = {"engine": "torch", "precision": "f32"}
GOOD_MEMBER = {
    "finetuned_model_uri": "f",
    "folder": "model",
    "max_tokens": 16,
    "variants": [GOOD_VARIANT],
    "temperature": 1.0,
}
GOOD_SPEC = {"kind": "full", "members": {"model": GOOD_MEMBER}, "answer": "model"}


def member(**changes: Any) -> str:
    """Return a spec in which the member has other settings."""
    return json.dumps(GOOD_SPEC | {"members": {"model": GOOD_MEMBER | changes}})


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "noise",
        "null",
        "[]",
        "{}",
        "\ud800",
        json.dumps(GOOD_SPEC | {"more": 1}),
        json.dumps({name: GOOD_SPEC[name] for name in ("kind", "answer")}),
        json.dumps(GOOD_SPEC | {"kind": "fuller"}),
        json.dumps(GOOD_SPEC | {"detector": "cld2"}),
        json.dumps(GOOD_SPEC | {"detector": None}),
        member(variants=None),
        member(variants=[]),
        member(variants=["torch f32"]),
        member(variants=[{"engine": "torch"}]),
        member(variants=[GOOD_VARIANT | {"device": "cpu"}]),
        member(variants=[GOOD_VARIANT | {"engine": "onnx"}]),
        member(variants=[GOOD_VARIANT, GOOD_VARIANT | {"precision": "f16"}]),
        member(folder="../model"),
        member(folder=1),
        member(more=1),
        json.dumps(GOOD_SPEC | {"answer": "other"}),
        json.dumps(GOOD_SPEC | {"answer": {"average": ["model"]}}),
        json.dumps(GOOD_SPEC | {"kind": "plain", "answer": {"vote": ["model", "model"]}}),
        member(max_tokens="16"),
        member(max_tokens=True),
        member(finetuned_model_uri=None),
        member(temperature="1"),
        member(temperature=0),
        member(temperature=float("inf")),
        member(temperature=float("nan")),
    ],
)
def test_settings_that_cannot_be_used_are_an_error_that_names_the_file(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "pipeline.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ArtifactError) as error:
        open_pipeline(tmp_path, model_uri=MODEL_URI)
    assert str(error.value).startswith(f"{tmp_path / 'pipeline.json'}: expected the settings")


def test_settings_that_name_no_detector_have_gcld3(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text(json.dumps(GOOD_SPEC))
    assert PipelineSpec.read(tmp_path).detector == "gcld3"


def test_a_pipeline_detects_with_the_files_of_its_artifact(
    tmp_path: Path, tiny_classifier: Path
) -> None:
    artifact = build_artifact(tmp_path / "artifact", tiny_classifier)
    replace(PipelineSpec.read(artifact), detector="fasttext").write(artifact)
    config = {"cache_dir": str(tmp_path / "cache")}
    model = artifact / "detector" / "lid.176.ftz"
    with pytest.raises(ArtifactError, match=f"^{model}: expected the model of the detector"):
        open_pipeline(artifact, model_uri=MODEL_URI, model_config=config)
    model.parent.mkdir()
    model.write_bytes(FastTextDetector.files()[0].read_bytes())
    pipeline = open_pipeline(artifact, model_uri=MODEL_URI, model_config=config)
    assert isinstance(pipeline, InferencePipeline)
    (document,) = ask_pipeline(pipeline, ["My laptop is broken"])
    assert document["metadata"]["language_detected"] == "en"
    assert document["metadata"]["language_reliable"] is True


def test_an_artifact_without_its_classifier_is_an_error_that_names_the_folder(
    tmp_path: Path,
) -> None:
    single_spec().write(tmp_path)
    place = weights_of(tmp_path) / "classifier"
    with pytest.raises(ArtifactError, match=f"{place}: expected a classifier"):
        open_pipeline(tmp_path, model_uri=MODEL_URI)
