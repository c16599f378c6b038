"""What the runs of scoring read."""

from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three shards of ten rows: eight texts, of which two repeat, one null and one empty."""
    folder = tmp_path / "in"
    folder.mkdir()
    for shard in range(3):
        texts: list[str | None] = [f"{tmp_path} {shard} film {row % 6}" for row in range(8)]
        table = pd.DataFrame({"id": range(10), "text": [*texts, None, ""]})
        table.to_parquet(folder / f"part-{shard}.parquet")
    return folder
