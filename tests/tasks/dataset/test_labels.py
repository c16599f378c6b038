"""One label has one name, whatever the format and the type of its cells."""

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import ParameterError
from tasks.dataset.labelled_rows import read_labelled
from tasks.dataset.labels import KnownLabels, label_text, order_labels
from tasks.dataset.types import LabelledData
from tasks.ingestion.table_reader import read_blocks, survey
from tasks.output.tables import extract_texts, select_readable

CASES: dict[str, tuple[list[str], list[Any]]] = {
    # what a CSV has, what JSONL and Parquet have
    "stars": (["1.0", "2.0", "5.0"], [1.0, 2.0, 5.0]),
    "half stars": (["0.5", "1.0", "1.5"], [0.5, 1.0, 1.5]),
    "integers": (["1", "2", "10"], [1, 2, 10]),
    "negative": (["-1", "0", "1"], [-1, 0, 1]),
    "truth values": (["True", "False", "True"], [True, False, True]),
    "lower-case truth values": (["true", "false", "true"], ["true", "false", "true"]),
    "blanks": ([" positive ", " negative ", "positive"], [" positive ", "negative", "positive "]),
    "leading zeros": (["01", "1", "001"], ["01", "1", "001"]),
    "dates": (["2026-01-01", "2026-01-02", "2026-01-01"], ["2026-01-01", "2026-01-02", "x"]),
}


def write_csv(path: Path, labels: Sequence[str]) -> Path:
    lines = [f"text {row},{label}\n" for row, label in enumerate(labels)]
    path.write_text("".join(["text,label\n", *lines]), encoding="utf-8")
    return path


def write_jsonl(path: Path, labels: Sequence[Any]) -> Path:
    rows = [{"text": f"text {row}", "label": label} for row, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, labels: pa.Array) -> Path:
    pq.write_table(
        pa.table({"text": [f"text {n}" for n in range(len(labels))], "label": labels}), path
    )
    return path


def cells_of(path: Path) -> list[object]:
    """Return the label column's values as scoring has them, after its type inference."""
    found = survey(path, {"text", "label"}, (), {"text"})
    return [
        label
        for block in read_blocks(path, found)
        for label in extract_texts(select_readable(block), "label")
    ]


def check_alike(path: Path, *others: Path) -> None:
    """See that scoring gives each row of all files the label that training gives it."""
    known = KnownLabels(tuple(dict.fromkeys(read_labelled([path])["label"])))
    for file in (path, *others):
        named = read_labelled([file])["label"].map(known.find).to_list()
        assert [known.find(cell) for cell in cells_of(file)] == named
        assert None not in named


@pytest.mark.parametrize("name", CASES)
def test_training_and_scoring_name_the_labels_of_each_format_alike(
    tmp_path: Path, name: str
) -> None:
    texts, values = CASES[name]
    csv, jsonl = write_csv(tmp_path / "a.csv", texts), write_jsonl(tmp_path / "a.jsonl", values)
    parquet = write_parquet(tmp_path / "a.parquet", pa.array(values))
    check_alike(csv)
    check_alike(jsonl, parquet)
    if name != "dates":
        check_alike(csv, jsonl, parquet)
        check_alike(parquet, csv)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (pa.array([1, 2], pa.int8()), ["1", "2"]),
        (pa.array([0.1, 1], pa.float32()), ["0.1", "1.0"]),
        (pa.array([Decimal("0.50"), Decimal("1.00")], pa.decimal128(4, 2)), ["0.5", "1.0"]),
        (pa.array([Decimal("1"), Decimal("2")], pa.decimal128(4, 0)), ["1", "2"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array(["x ", "\u00a0y"], pa.large_string()), ["x", "y"]),
    ],
)
def test_labels_of_each_parquet_type_have_the_name_of_a_csv_cell(
    tmp_path: Path, labels: pa.Array, names: list[str]
) -> None:
    path = write_parquet(tmp_path / "a.parquet", labels)
    assert read_labelled([path])["label"].to_list() == names
    check_alike(path, write_csv(tmp_path / "a.csv", names))


def test_writings_of_one_label_are_one_label_in_all_files(tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.jsonl"
    write_csv(one, ["1.0", "2.0", "True", "Caf\u00e9"])
    write_jsonl(other, [1, 2, True, "Cafe\u0301"])
    for files in ([one, other], [other, one]):
        labels = read_labelled(files)["label"]
        assert labels.nunique() == 4
        assert set(labels) >= {"1", "2", "True"}


@pytest.mark.parametrize("value", [None, float("nan"), b"x", ["x"], {"x": 1}])
def test_null_and_what_is_no_single_value_is_no_label(value: object) -> None:
    assert label_text(value) is None
    assert KnownLabels(["x", "y"]).find(value) is None


@pytest.mark.parametrize(
    ("names", "label", "name"),
    [
        # Versions that were trained before have names such as these.
        (("1", "2"), "1.0", "1"),
        (("1", "2"), 1.0, "1"),
        (("1.0", "2.0"), "1", "1.0"),
        (("1", "1.0"), "1.0", "1.0"),
        ((" positive ", "negative"), "positive", " positive "),
        (("negative", "positive"), "1", "positive"),
        (("negative", "positive"), 1.0, "positive"),
        (("negative", "positive"), True, "positive"),
        (("negative", "positive"), 2, None),
        (("negative", "positive"), -1, None),
        (("negative", "positive"), "", None),
        # Positions never stand for names that are numbers or truth values themselves.
        (("1.0", "2.0", "3.0"), 0, None),
        (("1.0", "2.0", "3.0"), "1", "1.0"),
        (("1e0", "2e0"), 1, None),
        (("1e-05", "2e-05"), 0, None),
        ((".5", ".25"), 1, None),
        (("1.", "2."), 1, None),
        (("True", "False"), 0, "False"),
        (("True", "False"), True, "True"),
        (("0", "1"), False, "0"),
        (("1", "01"), "01", "01"),
    ],
)
def test_label_of_a_row_is_found_by_name_value_or_position(
    names: tuple[str, ...], label: object, name: str | None
) -> None:
    assert KnownLabels(names).find(label) == name


@settings(max_examples=60)
@given(
    st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=9, unique=True)
    | st.lists(
        st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9, unique=True
    )
    | st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100).filter(
            str.strip
        ),
        min_size=2,
        max_size=9,
        unique_by=lambda text: text.strip(),
    )
)
def test_every_label_is_found_by_the_cell_that_it_came_from(labels: list[Any]) -> None:
    texts = [
        f'"{label.replace(chr(34), chr(34) * 2)}"' if isinstance(label, str) else str(label)
        for label in labels
    ]
    with TemporaryDirectory() as folder:
        csv = write_csv(Path(folder) / "a.csv", [*texts, '"and more"'])
        jsonl = write_jsonl(Path(folder) / "a.jsonl", labels)
        check_alike(csv)
        check_alike(jsonl)


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ("10 1 2", "1 2 10"),
        ("10.0 1.0 2.0 1.5", "1.0 1.5 2.0 10.0"),
        ("-1 -2 0", "-2 -1 0"),
        ("b 10 a 2 1", "1 2 10 a b"),
        ("1 01", "01 1"),
        ("001 1 01", "001 01 1"),
        ("+1 1 -1", "-1 +1 1"),
        ("v10 v2", "v10 v2"),
        ("2 1e1 1_0", "2 1_0 1e1"),
    ],
)
def test_labels_are_ordered_by_value_then_by_text_in_every_process(
    labels: str, ordered: str
) -> None:
    for found in permutations(labels.split()):
        assert list(order_labels(found)) == ordered.split()


@pytest.mark.parametrize(
    "names", [("1", "1.0"), ("a", " a "), ("true", "True"), ("a", " "), ("", "a")]
)
def test_label_names_that_mean_one_label_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match="label_names: expected two or more different names"):
        LabelledData(source="here", label_names=names)


def test_blanks_around_label_names_are_dropped(tmp_path: Path) -> None:
    names = LabelledData(source="here", label_names=(" bad", "good ")).label_names
    assert names == ("bad", "good")
    path = write_csv(tmp_path / "a.csv", ["bad", " good"])
    assert list(read_labelled([path], label_names=names)["label"]) == ["bad", "good"]
