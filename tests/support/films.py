"""Reviews of which a word tells the label: those of a training, and others to be learnt."""

from collections.abc import Mapping

import pandas as pd

TRAINED = {"great": "positive", "awful": "negative"}
NEW = {"bleak": "positive", "lovely": "negative"}


def films(words: Mapping[str, str], numbers: range) -> pd.DataFrame:
    """Return reviews of which a word tells the label."""
    rows = [(f"a {word} film, number {n}", words[word]) for n in numbers for word in words]
    return pd.DataFrame(rows, columns=["text", "label"])
