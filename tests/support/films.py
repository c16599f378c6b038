"""Reviews of which a word tells the label: those of a training, and others to be learnt."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

TRAINED = {"great": "positive", "awful": "negative"}
NEW = {"bleak": "positive", "lovely": "negative"}


def films(words: Mapping[str, str], numbers: range) -> pd.DataFrame:
    """Return reviews of which a word tells the label."""
    rows = [(f"a {word} film, number {n}", words[word]) for n in numbers for word in words]
    return pd.DataFrame(rows, columns=["text", "label"])


def numbered_reviews(path: Path, rows: int) -> Path:
    """Write rows of which the number alone decides the part; the ninth word tells the label."""
    words = {"negative": "awful", "positive": "great"}
    film = "the film that we saw last night was"
    table = [(f"{film} {words[label]}, {n}", label) for n in range(rows // 2) for label in words]
    pd.DataFrame(table, columns=["text", "label"]).to_csv(path, index=False)
    return path
