"""What a shard is scored with."""

from pathlib import Path

import pytest

from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.scoring.types import ScoringParameters
from tests.support.builders import Trained


@pytest.fixture
def parameters(trained: Trained, tmp_path: Path) -> ScoringParameters:
    model = resolve_scoring_model(trained.pipeline["inference_pipeline_model"])
    return ScoringParameters(model=model, output_dir=tmp_path / "out")
