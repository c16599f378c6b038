"""Labels: how a cell's value is written, which writings are one label, and their order."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from uuid import UUID

# Whole numbers, which a column of fractions, or one with nulls, has as 1.0. With leading zeros, as
# in 01, it is a text, and so is a version such as 1.10.
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
# What a number may look like in a name, also as Python writes small ones: 1e-05.
_NUMBER_NAME = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)
# Other values are several, or one that Python cannot hold.
_SINGLE = (str, bool, int, float, Decimal, date, time, timedelta, UUID)
_TRUTH_VALUES = {"false": "0", "true": "1"}


def label_text(value: object) -> str | None:
    """Return how a label is written, without blanks around it: as a cell of a CSV would be.

    Args:
        value: A cell's text, or a value of JSONL or Parquet.

    Returns:
        The text, which may be empty; `None` for null and for what is no single value.
    """
    if not isinstance(value, _SINGLE) or value != value:
        return None
    if not isinstance(value, Decimal):
        return str(value).strip()
    whole, point, fraction = format(value, "f").partition(".")
    return whole + point + (fraction.rstrip("0") or fraction[:1])


def is_missing(value: object) -> bool:
    """Return whether a row has no label: null, not a number, or nothing but blanks."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def label_key(text: str) -> str:
    """Return the normal form of a label's text; two texts of one label have the same.

    Blanks around it, a fraction of zeros (`1.0` is `1`), the case of `true` and `false`, and the
    Unicode form do not count.
    """
    text = unicodedata.normalize("NFC", text.strip())
    if found := _WHOLE.fullmatch(text):
        return "0" if found[1] == "-0" else found[1]
    return text.casefold() if text.casefold() in _TRUTH_VALUES else text


def unify_labels(texts: Iterable[str]) -> dict[str, str]:
    """Return a name for each text: of the texts of one label, the shortest."""
    names: dict[str, str] = {}
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    return {text: names.setdefault(label_key(text), text) for text in distinct}


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels in the order of their ids: numbers by value, then texts."""
    return tuple(sorted(labels, key=_place))


def _place(label: str) -> tuple[Decimal, str]:
    number = Decimal(label) if _NUMBER.fullmatch(label) else Decimal("Infinity")
    return number, label


class KnownLabels:
    """Finds the name of a row's label: by its text, its normal form, or its position.

    Positions count from 0. They stand for names that are neither numbers nor truth values; 0 and 1
    are false and true, and the other way round.

    Args:
        names: The labels of a model, or the `label_names` of a training, in the order of their ids.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._by_key = {label_key(name): name for name in reversed(names)}
        if not any(_is_value(key) for key in self._by_key):
            self._by_key |= {str(position): name for position, name in enumerate(names)}
        for truth, number in _TRUTH_VALUES.items():
            for key, other in ((truth, number), (number, truth)):
                if key not in self._by_key and other in self._by_key:
                    self._by_key[key] = self._by_key[other]

    def find(self, label: object) -> str | None:
        """Return the name of a label, or `None` if it is not known or is no label."""
        text = label_text(label)
        if text is None:
            return None
        return text if text in self._names else self._by_key.get(label_key(text))


def _is_value(key: str) -> bool:
    return key in _TRUTH_VALUES or _NUMBER_NAME.fullmatch(key) is not None
