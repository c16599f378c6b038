"""A row at fault fails alone, whatever a rule does to its frame, and the line says where."""

import itertools
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.bisection import Failure
from pyfunc.business.column_types import type_of
from pyfunc.business.rules import Rules, load_rules
from pyfunc.business.spec import ColumnType
from pyfunc.errors import ArtifactError

SECRET = "the-value-that-none-may-quote"

_numbers = itertools.count()


def rules_of(folder: Path, code: str, **decisions: ColumnType) -> Rules:
    path = folder / "ticket_rules.py"
    path.write_text("import numpy as np\nimport pandas as pd\n\n" + textwrap.dedent(code))
    module = load_rules(path, f"{next(_numbers):016}-of-a-test")
    return Rules(module, path.name, decisions)


def rows_of(values: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame({"text": pd.Series([*values], dtype=object)})


def test_a_reason_refuses_a_row_and_nothing_does_not(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, 'def before(rows):\n    return rows["text"]\n')
    reasons: list[Any] = ["", None, float("nan"), pd.NA, "opted\n out\0", "x" * 300, "\ud800"]
    assert rules.reasons(rows_of(reasons)) == [*[""] * 4, "opted out", "x" * 200, "?"]


IN_PLACE = {
    "drops": "rows.drop(rows.index[rows['text'] == 'b'], inplace=True)",
    "drops nulls": "rows.dropna(inplace=True)",
    "sorts": "rows.sort_values('text', inplace=True)",
    "renumbers": "rows.sort_values('text', inplace=True, ignore_index=True)",
    "overwrites": "rows.loc[:, 'text'] = rows['text'].fillna('z').to_numpy()",
    "adds a column": "rows['more'] = 1",
    "drops the column": "rows['own'] = rows.pop('text').map(str); rows['text'] = rows.pop('own')",
}


@pytest.mark.parametrize("how", list(IN_PLACE))
def test_a_frame_that_is_changed_in_place_gives_no_row_the_answer_of_another(
    tmp_path: Path, how: str
) -> None:
    rules = rules_of(tmp_path, f"def before(rows):\n    {IN_PLACE[how]}\n    return rows['text']\n")
    frame = rows_of(["d", "b", None, "a", "c"])
    answers = rules.reasons(frame)
    assert len(answers) == 5
    for value, answer in zip(["d", "b", None, "a", "c"], answers, strict=True):
        refused = isinstance(answer, Failure)
        assert answer in (value or "", "None", "z") or refused
        if not refused and value is not None:
            assert answer == value
    assert frame["text"].tolist() == rows_of(["d", "b", None, "a", "c"])["text"].tolist()


def test_values_that_are_sorted_are_taken_by_their_index(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        calls = []

        def before(rows):
            calls.append(len(rows))
            return rows["text"].sort_values()
        """,
    )
    assert rules.reasons(rows_of(["c", "a", "b"])) == ["c", "a", "b"]
    assert sys.modules[rules._functions["before"].__module__].calls == [3]


WRONG = {
    "None": ("None", "returned a NoneType; expected a Series"),
    "list": ("['x'] * len(rows)", "returned a list; expected a Series"),
    "array": ("np.array(['x'] * len(rows))", "returned a ndarray; expected a Series"),
    "frame": ("rows", "returned a DataFrame; expected a Series"),
    "longer": (
        "pd.concat([rows['text'], rows['text']])",
        "returned 2 values for 1 rows; expected one a row",
    ),
    "none": ("rows['text'].iloc[:0]", "returned 0 values for 1 rows; expected one a row"),
    "index": (
        "rows['text'].set_axis([f'k{i}' for i in rows.index])",
        "returned values with another index; expected that of the rows",
    ),
    "number": (
        "pd.Series(1, index=rows.index)",
        "returned a int; expected a reason or an empty text",
    ),
    "truth": (
        "pd.Series(True, index=rows.index)",
        "returned a bool; expected a reason or an empty text",
    ),
    "bytes": (
        "pd.Series([b'x'] * len(rows))",
        "returned a bytes; expected a reason or an empty text",
    ),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_what_is_no_reason_is_said(tmp_path: Path, what: str) -> None:
    expression, reason = WRONG[what]
    rules = rules_of(tmp_path, f"def before(rows):\n    return {expression}\n")
    answers = rules.reasons(rows_of([SECRET, SECRET]))
    assert answers == [Failure(f"ticket_rules.py: before {reason}")] * 2


KINDS: dict[str, tuple[str, list[Any]]] = {
    "string": ("pd.Series(['a', None, 'b'], dtype='category')", ["a", None, "b"]),
    "integer": ("pd.Series([1, None, 3], dtype='Int64')", [1, None, 3]),
    "number": ("pd.Series(np.array([1, np.nan, np.inf], 'float32'))", [1.0, None, float("inf")]),
    "boolean": ("pd.Series([np.True_, None, np.int64(0)], dtype=object)", [True, None, False]),
    "date": (
        "pd.to_datetime(pd.Series(['2026-11-29', None, '2026-11-30'])).dt.date",
        ["2026-11-29", None, "2026-11-30"],
    ),
    "timestamp": (
        (
            "pd.Series([np.datetime64('2026-11-29'), np.datetime64('NaT'), "
            "pd.Timestamp('2026-11-30 00:00:00.000000001', tz='Asia/Kathmandu')], dtype=object)"
        ),
        ["2026-11-29 00:00:00+00:00", None, "2026-11-29 18:15:00+00:00"],
    ),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_decisions_of_pandas_and_numpy_are_values_of_their_type(
    tmp_path: Path, kind: ColumnType
) -> None:
    expression, expected = KINDS[kind]
    code = f"def after(rows):\n    return pd.DataFrame({{'d': ({expression}).iloc[: len(rows)]}})\n"
    rules = rules_of(tmp_path, code, d=kind)
    found = [one[0] for one in rules.decisions(rows_of([1, 2, 3])) if isinstance(one, tuple)]
    if kind in ("date", "timestamp"):
        assert [value and str(value) for value in found] == expected
    else:
        assert found == expected


def test_a_decision_of_another_type_or_name_refuses_its_row(tmp_path: Path) -> None:
    code = "def after(rows):\n    return pd.DataFrame({'queue': rows['text']})\n"
    rules = rules_of(tmp_path, code, queue="integer")
    assert rules.decisions(rows_of([1, "x", 3])) == [
        (1,),
        Failure("ticket_rules.py: after queue: a str is no integer"),
        (3,),
    ]
    rules = rules_of(tmp_path, code, other="integer")
    assert rules.decisions(rows_of([1])) == [
        Failure("ticket_rules.py: after returned the columns ['queue']; expected ['other']")
    ]


def test_after_without_columns_decides_nothing(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "def after(rows):\n    return rows[[]]\n")
    assert rules.decisions(rows_of([1, 2])) == [(), ()]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("[1, 2]", "integer"),
        ("[1, 2.5]", "number"),
        ("[True, None]", "boolean"),
        ("['a', None]", "string"),
        ("[np.int64(1), np.float64(2)]", "number"),
        ("[np.True_, True]", "boolean"),
        ("[None, None]", "string"),
        ("[]", "string"),
        ("pd.Series([None, None], dtype='Int64')", "integer"),
        ("pd.Series([None, None], dtype='boolean')", "boolean"),
        ("pd.Series([None, None], dtype='float64')", "number"),
        ("pd.Series([None, None], dtype='datetime64[ns]')", "timestamp"),
        ("pd.Series([None, None], dtype='str')", "string"),
        ("pd.Series(['a', 'b'], dtype='category')", "string"),
        ("[pd.Timestamp('2026-11-29'), np.datetime64('2026-11-29')]", "timestamp"),
        ("[1, 'a']", "string"),
    ],
)
def test_the_type_of_a_decision_is_that_of_its_values_else_of_its_dtype(
    values: str, kind: str
) -> None:
    import numpy as np

    found = eval(values, {"pd": pd, "np": np})
    series = found if isinstance(found, pd.Series) else pd.Series(found, dtype=object)
    assert type_of(series) == kind


def test_deliveries_are_truths(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, "def deliver(rows):\n    return rows['text']\n")
    values: list[Any] = [True, False, 1, 0, None, float("nan"), "true", "f", 2, "x"]
    refusal = "ticket_rules.py: deliver returned another value than true or false: a {} is no "
    assert rules.deliveries(rows_of(values)) == [
        *[True, False, True, False, False, False, True, False],
        Failure(refusal.format("int") + "boolean"),
        Failure(refusal.format("str") + "boolean"),
    ]


@given(st.lists(st.booleans(), max_size=40))
def test_the_rows_that_are_refused_are_those_whose_own_call_raises(
    tmp_path_factory: pytest.TempPathFactory, bad: list[bool]
) -> None:
    code = """
    def before(rows):
        for value in rows["text"]:
            if value.startswith("bad"):
                raise LookupError(value)
        return rows["text"]
    """
    rules = rules_of(tmp_path_factory.mktemp("rules"), code)
    values = [f"{'bad' if one else 'good'} {number}" for number, one in enumerate(bad)]
    alone = [rules.reasons(rows_of([value]))[0] for value in values]
    assert rules.reasons(rows_of(values)) == alone
    assert [isinstance(one, Failure) for one in alone] == bad


def test_a_failure_names_the_line_and_not_the_value(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        def _check(value):
            raise ValueError(value)

        def before(rows):
            return rows["text"].map(_check)

        def text(rows):
            return rows["text"].astype("int64")
        """,
    )
    frame = rows_of([SECRET])
    assert rules.reasons(frame) == [Failure("ticket_rules.py:6: before raised ValueError")]
    assert rules.texts(frame) == [Failure("ticket_rules.py:12: text raised ValueError")]


def test_rules_that_are_no_plain_functions_have_lines_too(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        import functools

        def _fail(rows, how):
            raise RuntimeError(how)

        before = functools.partial(_fail, how="partly")

        @functools.lru_cache
        def text(rows):
            return rows["text"]
        """,
    )
    assert rules.reasons(rows_of(["a"])) == [
        Failure("ticket_rules.py:8: before raised RuntimeError")
    ]
    assert rules.texts(rows_of(["a"])) == [Failure("ticket_rules.py: text raised TypeError")]


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit"])
def test_an_interrupt_or_exit_is_no_fault_of_a_row(tmp_path: Path, error: str) -> None:
    rules = rules_of(tmp_path, f"def before(rows):\n    raise {error}\n")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        rules.reasons(rows_of(["a", "b"]))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
        ("x = ", "SyntaxError: invalid syntax"),
    ],
)
def test_rules_that_cannot_be_imported_are_named(tmp_path: Path, code: str, reason: str) -> None:
    path = tmp_path / "rules.py"
    path.write_text(code)
    with pytest.raises(ArtifactError) as caught:
        load_rules(path, f"{next(_numbers):016}")
    assert str(caught.value).startswith(f"{path}: cannot be imported ({reason}")
    assert "\n" not in str(caught.value)


def test_rules_may_have_dataclasses_and_two_versions_live_beside_each_other(tmp_path: Path) -> None:
    code = """
    from __future__ import annotations

    import dataclasses

    import pandas as pd

    @dataclasses.dataclass
    class Why:
        words: str

    def before(rows):
        return pd.Series([Why("{}").words] * len(rows))
    """
    both = []
    for version in ("one", "two"):
        path = tmp_path / version / "rules.py"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(code).replace("{}", version))
        both.append(Rules(load_rules(path, f"{version}-{tmp_path.name:0>16}"), "rules.py", {}))
    assert [rules.reasons(rows_of(["a"])) for rules in both] == [["one"], ["two"]]
