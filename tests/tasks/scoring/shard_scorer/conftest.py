"""What a shard is scored with."""

from pathlib import Path

import pytest

from tasks.scoring.scoring_model import identify
from tasks.scoring.types import ScoringParameters
from tests.support.builders import Trained


@pytest.fixture
def parameters(trained: Trained, tmp_path: Path) -> ScoringParameters:
    model = identify(trained.pipeline["inference_pipeline_model"])
    return ScoringParameters(model=model, output_dir=tmp_path / "out")
