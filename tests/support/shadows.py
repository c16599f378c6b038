"""Rows of which a shadow answers a sample."""

from pathlib import Path
from typing import Any

import pandas as pd

from flows.score_shards import score_shards

FRACTION = 0.4


def write_inbox(folder: Path) -> Path:
    """Write rows that `two_versions` answer in different ways, and a broken line."""
    folder.mkdir()
    write_rows(folder / "one.csv", 60)
    with (folder / "one.csv").open("a") as file:
        file.write(',61,positive\n"open,62,negative\n')
    return folder


def write_rows(path: Path, rows: int) -> None:
    """Write labelled rows whose last words tell the label, beyond the eighth token."""
    texts = [
        f"film {n}, {path.stem}, film {n}, a {('great', 'awful')[n % 2]} one" for n in range(rows)
    ]
    table = {"text": texts, "id": range(rows), "label": ["positive", "negative"] * (rows // 2)}
    pd.DataFrame(table).to_csv(path, index=False)


def score_beside(inbox: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    """Score with the challenger in the shadow, and return the summary."""
    settings: dict[str, Any] = {
        "shadow": ("challenger",),
        "shadow_fraction": FRACTION,
        "shard_rows": 25,
        "label_column": "label",
    }
    summary: dict[str, Any] = score_shards([str(inbox)], str(output), **settings | parameters)
    return summary
