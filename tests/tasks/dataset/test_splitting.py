import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import DataError, ParameterError
from tasks.dataset.prefect_tasks import split_data
from tasks.dataset.splitting import (
    PARTS,
    assign_part,
    describe_rows,
    digest_rows,
    find_missing_labels,
    normalise,
    sample_rows,
    write_split,
)
from tasks.dataset.types import LabelledData, RowReport, Split

texts = st.text(st.characters(exclude_categories=["Cs"]))
fractions = st.floats(0.01, 0.49)


def labelled(texts: list[str]) -> pd.DataFrame:
    labels = [f"label {number % 2}" for number in range(len(texts))]
    return pd.DataFrame({"text": texts, "label": labels}, dtype=str)


def numbered(rows: int) -> pd.DataFrame:
    return labelled([f"film number {row}" for row in range(rows)])


def parts_of(rows: pd.DataFrame) -> list[str]:
    return [assign_part(text, 0.1, 0.1) for text in rows["text"]]


def read_parts(folder: Path) -> dict[str, list[tuple[str, str]]]:
    tables = {part: pd.read_parquet(folder / f"{part}.parquet") for part in PARTS}
    return {
        part: list(zip(table["text"], table["label"], strict=True))
        for part, table in tables.items()
    }


# Which part a text belongs to


@given(
    text=texts,
    form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
    validation=fractions,
    test=fractions,
)
def test_other_forms_of_a_text_share_its_part(
    text: str, form: str, validation: float, test: float
) -> None:
    for other in (
        unicodedata.normalize(form, text),  # type: ignore[arg-type]
        f" \t{text}\u00a0\n",
        text.replace(" ", "\r\n  "),
        normalise(text),
    ):
        assert assign_part(other, validation, test) == assign_part(text, validation, test)


@given(text=st.text(st.sampled_from("abcxyzABCÄÖÜßéΐΣσς .,!0")))
def test_case_of_a_text_does_not_change_its_part(text: str) -> None:
    assert normalise(text.upper()) == normalise(text.lower()) == normalise(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Great Movie", "great  movie\n"),
        ("Straße", "STRASSE"),
        ("ΐ", "ΐ".upper()),
        ("ﬁlm", "film"),
        ("ℌello", "hello"),
        ("１２", "12"),
        ("e\u0301toile", "ÉTOILE"),
    ],
)
def test_duplicates_are_seen_as_such(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_different_texts_stay_different() -> None:
    assert (
        len({normalise(text) for text in ("a film", "a films", "afilm", "a, film", "ä film")}) == 5
    )


@given(texts)
def test_normal_form_is_its_own(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_fractions_come_out_about_right() -> None:
    rows = pd.Series([assign_part(f"film {row}", 0.1, 0.3) for row in range(20_000)])
    shares = rows.value_counts(normalize=True)
    for part, expected in (("train", 0.6), ("validation", 0.1), ("test", 0.3)):
        assert shares[part] == pytest.approx(expected, abs=0.015)


@given(text=texts, validation=fractions, test=fractions, more=st.floats(0, 0.5))
def test_larger_test_part_keeps_what_it_had(
    text: str, validation: float, test: float, more: float
) -> None:
    if assign_part(text, validation, test) == "test":
        assert assign_part(text, validation, test + more) == "test"


def test_parts_are_the_same_in_every_version() -> None:
    # A change here moves rows between the parts of every user's data.
    parts = parts_of(numbered(60))
    assert [row for row, part in enumerate(parts) if part == "test"] == [25, 37, 48, 55, 59]
    assert [row for row, part in enumerate(parts) if part == "validation"] == [
        17,
        24,
        34,
        39,
        41,
        52,
    ]


# The split on disk


@settings(max_examples=25)
@given(repeats=st.lists(st.integers(0, 199), max_size=30))
def test_parts_cover_all_rows_and_share_no_text(repeats: list[int]) -> None:
    again = [f"  FILM  number {row}" for row in repeats]
    rows = labelled([*numbered(200)["text"], *again])
    with TemporaryDirectory() as name:
        folder = Path(name) / "split"
        counts = write_split(rows, folder, validation_fraction=0.2, test_fraction=0.2)
        parts = read_parts(folder)
    assert counts == {part: len(table) for part, table in parts.items()}
    together = [row for table in parts.values() for row in table]
    assert sorted(together) == sorted(zip(rows["text"], rows["label"], strict=True))
    kinds = [{normalise(text) for text, _ in table} for table in parts.values()]
    assert sum(map(len, kinds)) == len(set.union(*kinds)) == 200


@given(added=st.lists(texts, max_size=30), seed=st.integers(0, 2**32 - 1))
def test_adding_rows_moves_no_other_row(added: list[str], seed: int) -> None:
    rows = numbered(100)
    more = labelled([*added, *rows["text"]]).sample(frac=1, random_state=seed)
    before = dict(zip(rows["text"], parts_of(rows), strict=True))
    after = dict(zip(more["text"], parts_of(more), strict=True))
    assert before.items() <= after.items()


def test_rows_keep_their_order_within_a_part(tmp_path: Path) -> None:
    rows = numbered(100)
    write_split(rows, tmp_path / "split", validation_fraction=0.2, test_fraction=0.2)
    for table in read_parts(tmp_path / "split").values():
        numbers = [int(text.split()[-1]) for text, _ in table]
        assert numbers == sorted(numbers)


def test_part_without_rows_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 3 rows falls into it; expected more rows"):
        write_split(numbered(3), tmp_path / "split", validation_fraction=0.1, test_fraction=0.1)
    assert list(tmp_path.iterdir()) == []


def test_train_part_of_one_label_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    rows = numbered(100)
    rows["label"] = ["x" if part == "train" else "y" for part in parts_of(rows)]
    with pytest.raises(DataError, match=r"^train: its [0-9]+ rows have one label; expected two"):
        write_split(rows, tmp_path / "split", validation_fraction=0.1, test_fraction=0.1)
    assert list(tmp_path.iterdir()) == []


# Sampling


def test_sample_is_stable_seeded_and_in_order() -> None:
    rows = numbered(500)
    drawn = sample_rows(rows, 100, seed=1)
    assert len(drawn) == 100
    assert drawn.index.is_monotonic_increasing
    assert drawn.equals(sample_rows(rows, 100, seed=1))
    assert not drawn.equals(sample_rows(rows, 100, seed=2))
    shuffled = sample_rows(rows.sample(frac=1, random_state=3), 100, seed=1)
    assert set(shuffled["text"]) == set(drawn["text"])


def test_larger_sample_holds_the_smaller_one() -> None:
    rows = numbered(500)
    assert set(sample_rows(rows, 50, seed=1)["text"]) < set(sample_rows(rows, 100, seed=1)["text"])


@pytest.mark.parametrize("size", [0, 500, 501])
def test_sample_of_all_or_more_is_all(size: int) -> None:
    rows = numbered(500)
    assert sample_rows(rows, size, seed=1).equals(rows)


# Digest and description


@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=8),
    place=st.integers(0, 7),
    other=st.tuples(texts, texts),
)
def test_digest_changes_with_any_row(
    rows: list[tuple[str, str]], place: int, other: tuple[str, str]
) -> None:
    def digest(rows: list[tuple[str, str]]) -> str:
        return digest_rows(pd.DataFrame(rows, columns=["text", "label"], dtype=str))

    place %= len(rows)
    changed = [*rows[:place], other, *rows[place + 1 :]]
    assert (digest(changed) == digest(rows)) is (changed == rows)
    assert digest([*rows, other]) != digest(rows)
    assert digest([("ab", "c")]) != digest([("a", "bc")])


def test_description_counts_labels_languages_and_lengths() -> None:
    rows = pd.DataFrame(
        {
            "text": [
                "This is a wonderful movie",
                "this is a WONDERFUL movie",
                "很好看的电影",
                "42",
            ],
            "label": ["good", "good", "bad", "good"],
        },
        dtype=str,
    )
    assert describe_rows(rows) == {
        "rows": 4,
        "distinct_texts": 3,
        "labels": {"good": 3, "bad": 1},
        "languages": {"en": 2, "zh": 1, "und": 1},
        "words": {"minimum": 1.0, "p05": 1.0, "median": 3.0, "p95": 5.0, "maximum": 5.0},
    }


# As a task


def csv_of(rows: pd.DataFrame, path: Path) -> tuple[Path]:
    rows.to_csv(path, index=False)
    return (path,)


def test_split_of_equal_rows_is_reused_and_of_others_is_not(home: Path, tmp_path: Path) -> None:
    data = LabelledData(source="here")
    files = csv_of(numbered(200), tmp_path / "reviews.csv")
    split = split_data.fn(files, data)
    assert split == Split.read(split.folder)
    assert split.folder.is_relative_to(home)
    assert split.labels == ("label 0", "label 1")
    assert sum(split.rows.values()) == 200
    written = split.part("train").stat().st_mtime_ns

    again = split_data.fn(files, LabelledData(source="elsewhere"))
    assert again == split.model_copy(update={"source": "elsewhere"})
    assert split.part("train").stat().st_mtime_ns == written

    other = split_data.fn(csv_of(numbered(201), tmp_path / "more.csv"), data)
    assert other.digest != split.digest
    assert other.folder != split.folder
    for change in ({"test_fraction": 0.2}, {"label_names": ("label 1", "label 0")}):
        changed = split_data.fn(files, data.model_copy(update=change))
        assert changed.folder != split.folder
        assert changed.labels == change.get("label_names", split.labels)


def test_label_that_the_train_part_lacks_is_a_warning(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = numbered(200)
    at = rows[[part == "test" for part in parts_of(rows)]].index[:3]
    rows.loc[at, "label"] = "disaster"
    report = split_data.fn(csv_of(rows, tmp_path / "rare.csv"), LabelledData(source="here")).report
    expected = (
        "train: no row of 'disaster'; the model cannot learn them; expected more rows of each"
    )
    assert report is not None
    assert report.warnings == (expected,)
    assert expected in caplog.messages


@pytest.mark.parametrize("labels", [2, 10, 12])
def test_missing_labels_are_named_in_one_line_a_part(labels: int) -> None:
    names = [f"l{number}" for number in range(labels)]
    found, parts = pd.Series([*names, "x"]), pd.Series(["validation"] * labels + ["train"])
    train, test = find_missing_labels(found, parts, [*names, "x"])
    assert train.startswith("train: no row of 'l0', 'l1'")
    assert (" and 2 more; the model cannot" in train) == (labels == 12)
    assert "; no figure measures them; " in test


def test_split_says_what_became_of_the_rows(home: Path, tmp_path: Path) -> None:
    rows = [*numbered(200)["text"], "FILM  number 0", "film number 1", ""]
    labels = [*numbered(200)["label"], "label 0", "label 0", ""]
    files = csv_of(pd.DataFrame({"text": rows, "label": labels}), tmp_path / "reviews.csv")
    report = split_data.fn(files, LabelledData(source="here")).report
    contradictions = (
        "2 of 202 rows have a text that has another label elsewhere; no model is right for all of "
        "them: correct the labels"
    )
    assert report == RowReport(
        read=203,
        kept=202,
        set_aside={"neither text nor label": 1},
        repeated=1,
        contradicting=2,
        warnings=(contradictions,),
    )
    more = csv_of(
        pd.DataFrame({"text": [*rows, ""], "label": [*labels, ""]}), tmp_path / "more.csv"
    )
    again = split_data.fn(more, LabelledData(source="here"))
    assert again.report is not None
    assert again.report.read == again.row_counts["rows_read"] == 204


def test_split_that_a_kill_cut_short_is_made_anew(home: Path, tmp_path: Path) -> None:
    files = csv_of(numbered(200), tmp_path / "reviews.csv")
    split = split_data.fn(files, LabelledData(source="here"))
    (split.folder / "split.json").unlink()
    split.part("test").unlink()
    assert split_data.fn(files, LabelledData(source="here")) == split
    assert split.part("test").is_file()


def test_folder_that_is_no_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=f"^split_folder: {tmp_path} has no split.json"):
        Split.read(tmp_path)


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"expected a sum below 1, got 0.5 \+ 0.5"):
        LabelledData(source="here", validation_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize("names", [("x",), ("x", "x"), ("x", "y", "x")])
def test_label_names_that_cannot_be_told_apart_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match="label_names: expected two or more different names"):
        LabelledData(source="here", label_names=names)
