"""Count how two versions answered the same rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tasks.common.counting import SCORE_BINS
from tasks.common.errors import DataError
from tasks.comparison.label_counts import LabelCounts
from tasks.comparison.paired_rows import PairedRow, Rejected, Scored, match_shards, pair_rows
from tasks.comparison.types import Comparison, Flip, Group, Rejects, RowChoice
from tasks.dataset.labels import label_key
from tasks.dataset.splitting import digest_text
from tasks.output.records import ShardRecord
from tasks.tracking.names import RegisteredModel

# Upper bounds of characters; texts of one model seldom differ in its answers by less.
_LENGTHS = (50, 100, 200, 400, 800, 1_600, 3_200)

_LONGEST_QUOTE = 500  # characters


def compare_outputs(present: Path, other: Path, choice: RowChoice, *, examples: int) -> Comparison:
    """Compare the output folders of two versions that scored the same inputs.

    Args:
        present: That of the version that answers today.
        other: That of the version to compare with it.
        choice: Which of their rows, and the column with the labels.
        examples: How many flips to quote at most; 0 quotes none.

    Raises:
        DataError: If a table cannot be read, or the folders have not the answers of two versions of
            one model.
        ParameterError: If there is no such column with labels.
    """
    matched, left_out = match_shards(present, other, choice)
    uris = [
        _only_version(folder, [records[side] for records in matched])
        for side, folder in enumerate((present, other))
    ]
    names = {RegisteredModel.from_uri(uri).name for uri in uris}
    if len(set(uris)) < 2 or len(names) > 1:
        raise DataError(
            f"{present} and {other}: have answers of {' and '.join(uris)}; expected those of two "
            "versions of one model"
        )
    counts, labels = _Counts(examples, LabelCounts(*uris)), _read_labels(choice)
    for records in matched:
        for row in pair_rows((present, other), records, choice.label_column):
            counts.add(_with_label(row, labels))
    return counts.result(uris[0], uris[1], left_out)


def _read_labels(choice: RowChoice) -> dict[str, str]:
    """Return labels by the digests of texts."""
    if choice.labels is None:
        return {}
    columns = pq.ParquetFile(choice.labels).read(["text_digest", "label"]).to_pydict()
    return dict(zip(columns["text_digest"], columns["label"], strict=True))


def _with_label(row: PairedRow, labels: Mapping[str, str]) -> PairedRow:
    if row.truth or not labels or not isinstance(row.text, str):
        return row
    return row._replace(truth=labels.get(digest_text(row.text), ""))


def _only_version(folder: Path, records: Sequence[ShardRecord]) -> str:
    """Return the version that answered all shards of a folder.

    Raises:
        DataError: If there is none, or several.
    """
    traffic = [record.parameters.traffic for record in records]
    found = sorted(
        {record.model_uri for record in records}
        | {split.challenger_uri for split in traffic if split is not None}
    )
    if not found:
        raise DataError(
            f"{folder}: no shard that both folders have; expected two scorings of the same files"
        )
    if len(found) > 1:
        raise DataError(
            f"{folder}: has answers of {', '.join(found)}; expected those of one version"
        )
    return found[0]


class _Counts:
    """The counts of rows, of which none is kept but a few flips."""

    def __init__(self, most_examples: int, labels: LabelCounts) -> None:
        self._most_examples = most_examples
        self._labels = labels
        self._rows = 0
        self._pairs: dict[str, Counter[str]] = {}
        self._groups: dict[str, Counter[tuple[str, bool]]] = {
            "by_language": Counter(),
            "by_length": Counter(),
            "by_score": Counter(),
            "by_night": Counter(),
        }
        self._rejected = 0
        self._only: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._examples: list[Flip] = []

    def add(self, row: PairedRow) -> None:
        """Count a row."""
        self._rows += 1
        present, other = row.present, row.other
        if isinstance(present, Scored) and isinstance(other, Scored):
            self._add_answers(row, present, other)
        elif isinstance(present, Rejected) and isinstance(other, Rejected):
            self._rejected += 1
        elif isinstance(present, Rejected):
            self._only[0][present.reason] += 1
        elif isinstance(other, Rejected):
            self._only[1][other.reason] += 1
        if row.truth:
            self._labels.add(row)

    def result(self, present: str, other: str, left_out: Mapping[str, str]) -> Comparison:
        """Return the comparison of two versions."""
        flips = sum(found.total() for found in self._pairs.values())
        groups = {name: _to_groups(found) for name, found in self._groups.items()}
        return Comparison(
            present=present,
            other=other,
            rows=self._rows,
            scored=self._groups["by_language"].total(),
            flips=flips,
            pairs={label: dict(found.most_common()) for label, found in self._pairs.items()},
            **groups,
            rejects=Rejects(
                both=self._rejected,
                only_present=dict(self._only[0].most_common()),
                only_other=dict(self._only[1].most_common()),
            ),
            known=self._labels.known,
            unknown_labels=self._labels.unknown_labels,
            repeated=self._labels.repeated,
            decided=self._labels.decided,
            unknown_trainings=self._labels.unknown_trainings,
            labels=self._labels.right,
            examples=tuple(self._examples),
            left_out=dict(left_out),
        )

    def _add_answers(self, row: PairedRow, present: Scored, other: Scored) -> None:
        is_flip = label_key(present.label) != label_key(other.label)
        self._groups["by_language"][present.language, is_flip] += 1
        self._groups["by_length"][_length_bin(len(str(row.text))), is_flip] += 1
        self._groups["by_score"][_score_bin(present.score), is_flip] += 1
        self._groups["by_night"][row.night, is_flip] += 1
        if not is_flip:
            return
        self._pairs.setdefault(present.label, Counter())[other.label] += 1
        if len(self._examples) < self._most_examples:
            self._examples.append(
                Flip(
                    shard=row.shard,
                    row=row.row,
                    text=str(row.text)[:_LONGEST_QUOTE],
                    present=(present.label, present.score),
                    other=(other.label, other.score),
                    truth=row.truth,
                )
            )


def _to_groups(found: Counter[tuple[str, bool]]) -> dict[str, Group]:
    return {
        name: Group(rows=found[name, True] + found[name, False], flips=found[name, True])
        for name in sorted({name for name, _ in found}, key=_bin_order)
    }


def _bin_order(name: str) -> tuple[float, str]:
    first = name.partition("-")[0]
    return (float(first) if first.replace(".", "").isdigit() else 0, name)


def _length_bin(characters: int) -> str:
    bounds = (0, *_LENGTHS)
    for low, high in zip(bounds, _LENGTHS, strict=False):
        if characters < high:
            return f"{low}-{high - 1}"
    return f"{_LENGTHS[-1]}-"


def _score_bin(score: float) -> str:
    number = min(int(score * SCORE_BINS), SCORE_BINS - 1)
    return f"{number / SCORE_BINS:.2f}-{(number + 1) / SCORE_BINS:.2f}"
