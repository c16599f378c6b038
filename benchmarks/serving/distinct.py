"""More distinct texts than a data set has, of the same lengths."""

import random
from collections.abc import Iterator, Sequence

_MOST_BARREN_ROUNDS = 20


def distinct_texts(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Yield each text once, then copies of them in which two words have changed places.

    A prediction cache knows none of them, and a copy costs an engine as much as its text.

    Args:
        texts: The texts.
        seed: Of the words that change places.

    Raises:
        ValueError: If there are no more, as of texts of one word.
    """
    seen = set(texts)
    yield from dict.fromkeys(texts)
    draw = random.Random(seed)
    barren = 0
    while barren < _MOST_BARREN_ROUNDS:
        barren += 1
        for text in texts:
            copy = _with_two_words_swapped(text, draw)
            if copy not in seen:
                seen.add(copy)
                barren = 0
                yield copy
    raise ValueError(f"{len(seen)} distinct texts; expected more")


def _with_two_words_swapped(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    if len(words) < 2:
        return text
    first, second = draw.sample(range(len(words)), 2)
    words[first], words[second] = words[second], words[first]
    return " ".join(words)
