"""The settings of an artifact survive their file, and bad ones are named."""

import json
from pathlib import Path

import pytest

from pyfunc.errors import ArtifactError
from pyfunc.pipeline import open_pipeline
from pyfunc.spec import PipelineSpec, Variant
from tests.pyfunc.pipeline.documents import MODEL_URI

TORCH = Variant("torch", "f32")


def test_the_settings_survive_their_file(tmp_path: Path) -> None:
    spec = PipelineSpec("plain", "models:/été/3", 17, (Variant("openvino", "bf16"), TORCH), 0.7)
    spec.write(tmp_path)
    assert PipelineSpec.read(tmp_path) == spec


def test_settings_of_before_have_no_temperature(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text(json.dumps(GOOD_SPEC))
    assert PipelineSpec.read(tmp_path).temperature == 1.0


GOOD_VARIANT = {"engine": "torch", "precision": "f32"}
GOOD_SPEC = {
    "kind": "full",
    "finetuned_model_uri": "f",
    "max_tokens": 16,
    "variants": [GOOD_VARIANT],
}


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
        json.dumps({name: GOOD_SPEC[name] for name in ("kind", "variants")}),
        json.dumps(GOOD_SPEC | {"kind": "fuller"}),
        json.dumps(GOOD_SPEC | {"variants": None}),
        json.dumps(GOOD_SPEC | {"variants": []}),
        json.dumps(GOOD_SPEC | {"variants": ["torch f32"]}),
        json.dumps(GOOD_SPEC | {"variants": [{"engine": "torch"}]}),
        json.dumps(GOOD_SPEC | {"variants": [GOOD_VARIANT | {"device": "cpu"}]}),
        json.dumps(GOOD_SPEC | {"variants": [GOOD_VARIANT | {"engine": "onnx"}]}),
        json.dumps(GOOD_SPEC | {"variants": [GOOD_VARIANT, GOOD_VARIANT | {"precision": "f16"}]}),
        json.dumps({"precision": "f32"} | {n: v for n, v in GOOD_SPEC.items() if n != "variants"}),
        json.dumps(GOOD_SPEC | {"max_tokens": "16"}),
        json.dumps(GOOD_SPEC | {"max_tokens": True}),
        json.dumps(GOOD_SPEC | {"finetuned_model_uri": None}),
        json.dumps(GOOD_SPEC | {"temperature": "1"}),
        json.dumps(GOOD_SPEC | {"temperature": 0}),
        json.dumps(GOOD_SPEC | {"temperature": float("inf")}),
        json.dumps(GOOD_SPEC | {"temperature": float("nan")}),
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


def test_an_artifact_without_its_classifier_is_an_error_that_names_the_folder(
    tmp_path: Path,
) -> None:
    PipelineSpec("full", "f", 16, (TORCH,)).write(tmp_path)
    with pytest.raises(ArtifactError, match=f"{tmp_path / 'classifier'}: expected a classifier"):
        open_pipeline(tmp_path, model_uri=MODEL_URI)
