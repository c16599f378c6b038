"""Pipelines of both kinds, opened from what ships."""

from pathlib import Path

import pytest

from pyfunc.opening import open_pipeline
from pyfunc.pipeline import InferencePipeline
from pyfunc.plain_pipeline import PlainPipeline
from tests.pyfunc.pipeline.documents import MODEL_URI, opened
from tests.support.builders import build_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> Path:
    return build_artifact(tmp_path_factory.mktemp("artifact") / "full", tiny_classifier)


@pytest.fixture(scope="module")
def pipeline(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> InferencePipeline:
    """A pipeline whose cache lives as long as the module."""
    return opened(artifact, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cold(artifact: Path, tmp_path: Path) -> InferencePipeline:
    """A pipeline whose cache is empty."""
    return opened(artifact, tmp_path / "cache")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> PlainPipeline:
    folder = tmp_path_factory.mktemp("artifact") / "plain"
    pipeline = open_pipeline(
        build_artifact(folder, tiny_classifier, kind="plain"), model_uri=MODEL_URI
    )
    assert isinstance(pipeline, PlainPipeline)
    return pipeline
