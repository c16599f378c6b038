"""Split rows into train, validation and test by a hash of the text."""

import hashlib
import json
import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pyfunc.detectors.selection import open_detector
from tasks.common.counting import count_values
from tasks.common.errors import DataError
from tasks.common.files import published_file, published_folder
from tasks.common.settings import get_settings
from tasks.common.task_errors import redacted_errors
from tasks.dataset.labelled_rows import RowTally, read_labelled
from tasks.dataset.labels import order_labels
from tasks.dataset.types import RECORD, LabelledData, RowReport, Split
from tasks.ingestion.text_format import AS_FOUND, ReadOptions

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
UNLABELLED = "unlabelled"

_DIGEST_CHARACTERS = 16  # 64 bits: two of a million texts share one at odds of 1 to 10 million
_MISSED = {"train": "the model cannot learn them", "test": "no figure measures them"}
_NAMED_LABELS = 10  # in one warning

_QUANTILES = {"minimum": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "maximum": 1.0}


def normalise(text: str) -> str:
    """Return `text` with case, Unicode form and white space evened out."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Folding case takes some letters apart, such as ΐ.
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def digest_text(text: str) -> str:
    """Return a short digest of a text, which texts with equal normal forms share."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:_DIGEST_CHARACTERS]


def assign_part(text: str, validation_fraction: float, test_fraction: float) -> str:
    """Return the part that `text` belongs to, whatever other rows there are.

    Texts with equal normal forms share a part. The hash is uniform on [0, 1): the lowest
    `test_fraction` is the test part, the next `validation_fraction` the validation part.
    """
    position = _hash(normalise(text)) / 2**64
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"


def sample_rows(rows: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """Return `size` rows drawn by a hash of text and seed, in their order.

    All rows are returned if `size` is 0, or if there are no more than `size`.
    """
    if size == 0 or size >= len(rows):
        return rows
    ranks = rows["text"].map(lambda text: _hash(f"{seed}\0{normalise(text)}"))
    chosen = ranks.sort_values(kind="stable").index[:size]
    return rows.loc[sorted(chosen)]


def warn_of_undrawn_labels(drawn: pd.DataFrame, split: Split) -> None:
    """Log it if a sample of the train part has not all labels; it is the model's only data."""
    labels = [label for label in split.labels if label not in set(drawn["label"])]
    if labels and len(drawn) < split.rows["train"]:
        logger.warning(
            "sample_size: %d rows of train have none of %d labels, such as %r, which the model "
            "cannot learn; expected a larger sample, or 0 for all rows",
            len(drawn),
            len(labels),
            labels[0],
        )


def digest_rows(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of texts and labels in their order."""
    digest = hashlib.sha256()
    for text, label in zip(rows["text"], rows["label"], strict=True):
        digest.update(json.dumps([text, label]).encode() + b"\n")
    return digest.hexdigest()


def split_files(
    files: Sequence[Path],
    data: LabelledData,
    options: ReadOptions = AS_FOUND,
    *,
    keep_unlabelled: bool = False,
) -> Split:
    """Read labelled tables and split their rows, or return the split of equal rows.

    A text without a label that the split would not put into the train part is left out: nothing
    is trained on a text that others are measured on.

    Args:
        files: The tables.
        data: Their columns and labels, and the shares of the parts.
        options: How their text is read.
        keep_unlabelled: Whether rows without a label are kept, beside the parts; else they are
            errors.

    Raises:
        DataError: If a file or row cannot be used, or a part would be empty.
    """
    tally = RowTally(keep_unlabelled=keep_unlabelled)
    with redacted_errors("rows"):
        rows = read_labelled(
            files,
            text_column=data.text_column,
            label_column=data.label_column,
            label_names=data.label_names,
            tally=tally,
            options=options,
        )
    labels = tuple(data.label_names) or order_labels(rows["label"].unique())
    parts = _assign_parts(rows, data.validation_fraction, data.test_fraction)
    for warning in find_missing_labels(rows["label"], parts, labels):
        logger.warning("%s", warning)
        tally.warnings.append(warning)
    report = report_rows(rows, tally)
    digest = digest_rows(rows)
    fractions = data.validation_fraction, data.test_fraction
    unlabelled = [
        text for text in tally.unlabelled or () if assign_part(text, *fractions) == "train"
    ]
    folder = _split_folder(digest, labels, data, unlabelled)
    if (folder / RECORD).is_file():
        return Split.read(folder).model_copy(update={"source": data.source, "report": report})
    counts = write_split(
        rows,
        folder,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        unlabelled=unlabelled,
    )
    split = Split(
        folder=folder,
        source=data.source,
        digest=digest,
        labels=labels,
        rows=counts,
        distributions=describe_rows(rows),
        report=report,
        unlabelled=len(unlabelled),
    )
    with published_file(folder / RECORD) as draft:
        draft.write_text(split.model_dump_json(indent=2), encoding="utf-8")
    return split


def _split_folder(
    digest: str, labels: tuple[str, ...], data: LabelledData, unlabelled: Sequence[str]
) -> Path:
    choices: tuple[object, ...] = (
        *(digest, labels, data.validation_fraction, data.test_fraction),
        *((hashlib.sha256(json.dumps(unlabelled).encode()).hexdigest(),) if unlabelled else ()),
    )
    key = hashlib.sha256(repr(choices).encode()).hexdigest()[:16]
    return get_settings().data / "splits" / key


def _assign_parts(
    rows: pd.DataFrame, validation_fraction: float, test_fraction: float
) -> "pd.Series[str]":
    return rows["text"].map(lambda text: assign_part(text, validation_fraction, test_fraction))


def find_missing_labels(
    found: "pd.Series[str]", parts: "pd.Series[str]", labels: Sequence[str]
) -> list[str]:
    """Return a line for each part that matters and lacks labels, with the first of them.

    Args:
        found: The label of each row.
        parts: The part of each row.
        labels: All labels.
    """
    lines = []
    for part, effect in _MISSED.items():
        there = set(found[parts == part])
        missing = [label for label in labels if label not in there]
        if missing:
            shown = ", ".join(map(repr, missing[:_NAMED_LABELS]))
            more = f" and {len(missing) - _NAMED_LABELS} more" if missing[_NAMED_LABELS:] else ""
            lines.append(f"{part}: no row of {shown}{more}; {effect}; expected more rows of each")
    return lines


def write_split(
    rows: pd.DataFrame,
    folder: Path,
    *,
    validation_fraction: float,
    test_fraction: float,
    unlabelled: Sequence[str] = (),
) -> dict[str, int]:
    """Write `train`, `validation` and `test.parquet` into `folder`, whole or not at all.

    Texts without a label go to `unlabelled.parquet`, if there are any.

    Returns:
        The number of rows of each part.

    Raises:
        DataError: If a part would be empty, or the train part would have a single label.
    """
    parts = _assign_parts(rows, validation_fraction, test_fraction)
    tables = {part: rows[parts == part] for part in PARTS}
    for part, table in tables.items():
        if table.empty:
            raise DataError(
                f"{part}: none of {len(rows)} rows falls into it; "
                "expected more rows or another validation_fraction and test_fraction"
            )
    if tables["train"]["label"].nunique() < 2:
        raise DataError(
            f"train: its {len(tables['train'])} rows have one label; expected two or more"
        )
    with published_folder(folder) as draft:
        for part, table in tables.items():
            table.to_parquet(draft / f"{part}.parquet", index=False)
        if unlabelled:
            texts = pd.DataFrame({"text": unlabelled}, dtype=str)
            texts.to_parquet(draft / f"{UNLABELLED}.parquet", index=False)
    return {part: len(table) for part, table in tables.items()}


def report_rows(rows: pd.DataFrame, tally: RowTally) -> RowReport:
    """Return what became of the rows that were read; contradictions are logged and a warning."""
    texts = rows["text"].map(normalise)
    contradicting = int((rows["label"].groupby(texts).transform("nunique") > 1).sum())
    warnings = list(tally.warnings)
    if contradicting:
        warnings.append(
            f"{contradicting} of {len(rows)} rows have a text that has another label elsewhere; "
            "no model is right for all of them: correct the labels"
        )
        logger.warning("%s", warnings[-1])
    return RowReport(
        read=tally.read,
        kept=len(rows),
        set_aside=dict(tally.set_aside),
        repeated=int(pd.DataFrame({"text": texts, "label": rows["label"]}).duplicated().sum()),
        contradicting=contradicting,
        warnings=tuple(warnings),
    )


def describe_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the label, language and length distributions of the rows."""
    detector = open_detector()
    words = rows["text"].map(lambda text: len(text.split()))
    return {
        "rows": len(rows),
        "distinct_texts": rows["text"].map(normalise).nunique(),
        "labels": count_values(rows["label"]),
        "languages": count_values(detector.detect(text).code for text in rows["text"]),
        "words": {name: float(words.quantile(q)) for name, q in _QUANTILES.items()},
    }


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
