"""Texts of every kind, and what is none."""

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pyfunc.pipeline import MAX_CHARACTERS

ORIGINAL = ["what a disappointing movie", "Great movie", "Great movie", "很好看的电影"]

NOT_TEXT: dict[str, tuple[object, str]] = {
    "None": (None, "null"),
    "float NaN": (float("nan"), "null"),
    "numpy NaN": (np.float64("nan"), "null"),
    "pandas NA": (pd.NA, "null"),
    "pandas NaT": (pd.NaT, "not text but NaTType"),
    "integer": (7, "not text but int"),
    "float": (7.5, "not text but float"),
    "boolean": (True, "not text but bool"),
    "bytes": (b"Great movie", "not text but bytes"),
    "list": (["Great movie"], "not text but list"),
    "dictionary": ({"text": "Great movie"}, "not text but dict"),
    "array": (np.array(["Great", "movie"]), "not text but ndarray"),
    "lone surrogate": ("Great \ud83d movie", "not encodable as UTF-8"),
    "two surrogates": ("\udc00\ud800", "not encodable as UTF-8"),
    "empty": ("", "empty"),
    "spaces": (" \t\r\n\u3000\u2028", "empty"),
    "zero-width": ("\u200b\u200d\ufeff\u2060", "empty"),
    "null characters": ("\0\0", "empty"),
    "too long": ("a" * (MAX_CHARACTERS + 1), f"longer than {MAX_CHARACTERS} characters"),
}

ODD = [
    "\0",
    "\0 Great movie",
    "\x1b[31mGreat\x7f movie\x96",
    "Z̷̡̛a̵l̸g̶o̵ m̴o̷v̸i̵e",
    "\u202eeivom taerG",
    "فيلم رائع جدا",
    "סרט נהדר",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "[MASK] [SEP] [PAD]",
    '{"response": null}',
    "\ufffe\uffff\U0010ffff",
    "\ue000",
    "ᚠᚢᚦ 𐌰𐌱𐌲 𝓖𝓻𝓮𝓪𝓽",
]

ANY_TEXT = (
    st.text()
    | st.sampled_from(ODD)
    | st.text(st.characters(codec="utf-8", categories=["M", "C", "Z"]))
    | st.lists(st.sampled_from(["great", "bad", "a", "film", "\0", "很", "."]), max_size=40).map(
        " ".join
    )
)

ANY_ROW = ANY_TEXT | st.sampled_from([value for value, _ in NOT_TEXT.values()][:-1])

unhurried = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
