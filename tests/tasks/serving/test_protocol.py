"""Bodies of requests: what they ask for, and what is wrong with them in one line."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.serving.protocol import Body, ClassifyBody, InvocationsBody, parse_body
from tasks.serving.types import AnswerOptions

SECRET = "a text that is nobody's business"
MOST = 1_000


def parsed(kind: type[Body], body: Any) -> Any:
    rows = parse_body(kind, json.dumps(body).encode(), max_texts=MOST)
    return list(rows.texts), {name: list(values) for name, values in rows.columns.items()}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["id", "text"], "data": [[1, "a"], [2, None]]}},
        {
            "dataframe_split": {
                "index": [7, 8],
                "columns": ["text", "id"],
                "data": [["a", 1], [None, 2]],
            }
        },
        {"dataframe_records": [{"text": "a", "id": 1}, {"text": None, "id": 2}]},
        {"inputs": {"text": ["a", None], "id": [1, 2]}},
        {"instances": [{"text": "a", "id": 1}, {"id": 2}]},
    ],
)
def test_each_form_of_the_protocol_asks_for_the_same(body: dict[str, Any]) -> None:
    assert parsed(InvocationsBody, body) == (["a", None], {"id": [1, 2]})


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_a_list_is_one_of_texts(form: str) -> None:
    assert parsed(InvocationsBody, {form: ["a", None, 7]}) == (["a", None, 7], {})


def test_parameters_are_those_of_predict() -> None:
    body = {"inputs": ["a"], "params": {"use_cache": False, "all_scores": True}}
    rows = parse_body(InvocationsBody, json.dumps(body).encode(), max_texts=MOST)
    assert rows.options == AnswerOptions(use_cache=False, all_scores=True)


def test_classify_takes_texts_and_columns() -> None:
    body = {"texts": ["a", "b"], "columns": {"id": [1, None]}}
    assert parsed(ClassifyBody, body) == (["a", "b"], {"id": [1, None]})


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (ClassifyBody, {"texts": [SECRET], "use_cash": True}, "use_cash: unknown"),
        (ClassifyBody, {}, "texts: Field required"),
        (ClassifyBody, {"texts": []}, "texts: List should have at least 1 item"),
        (ClassifyBody, {"texts": [SECRET, 7]}, "texts.1: Input should be a valid string"),
        (ClassifyBody, {"texts": SECRET}, "texts: Input should be a valid array"),
        (ClassifyBody, {"texts": [SECRET], "all_scores": "yes"}, "all_scores: Input should be"),
        (
            ClassifyBody,
            {"texts": [SECRET], "columns": {"id": [1, 2]}},
            "'id' has 2 values; expected 1",
        ),
        (ClassifyBody, [SECRET], "Input should be an object"),
        (
            InvocationsBody,
            {"inputs": [SECRET], "params": {"use_cash": 1}},
            "params.use_cash: unknown",
        ),
        (
            InvocationsBody,
            {"inputs": [SECRET], "params": {"batch_tokens": 0}},
            "params.batch_tokens: ",
        ),
        (InvocationsBody, {"inputs": [SECRET], "dataframe": []}, "dataframe: unknown"),
        (ClassifyBody, {"text": [SECRET], "use_cash": True}, "text: unknown field (and 2 more)"),
        (ClassifyBody, {"texts": [1], "use_cash": True}, "use_cash: unknown field (and 1 more)"),
        (InvocationsBody, {}, "expected one of dataframe_split"),
        (InvocationsBody, {"inputs": [SECRET], "instances": [SECRET]}, "got 2 of them"),
        (InvocationsBody, {"inputs": {"review": [SECRET]}}, "text: this column is missing"),
        (
            InvocationsBody,
            {"inputs": {"text": [SECRET], "id": []}},
            "'id' has 0 values; expected 1",
        ),
        (InvocationsBody, {"inputs": []}, "no row"),
        (InvocationsBody, {"instances": [{"text": SECRET}, SECRET]}, "instances"),
        (
            InvocationsBody,
            {"dataframe_split": {"columns": ["text", "text"], "data": [[SECRET, ""]]}},
            "a column is there twice",
        ),
        (
            InvocationsBody,
            {"dataframe_split": {"columns": ["text"], "data": [["a"], [SECRET, 2]]}},
            "row 1 has 2 values; expected 1",
        ),
    ],
)
def test_what_is_wrong_is_named_without_the_texts(
    kind: type[Body], body: Any, expected: str
) -> None:
    with pytest.raises(DataError) as raised:
        parse_body(kind, json.dumps(body).encode(), max_texts=MOST)
    assert expected in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (ClassifyBody, {"texts": [""] * 1_001}, "1001 texts; expected at most 1000"),
        (ClassifyBody, {"texts": [1] * 100_000}, "texts.0: Input should be a valid string"),
        (ClassifyBody, {f"field {n}": 1 for n in range(1_001)}, "1001 columns or fields"),
        (
            ClassifyBody,
            {"texts": ["a"], "columns": {str(n): [n] for n in range(1_001)}},
            "1001 columns or fields; expected at most 1000",
        ),
        (
            InvocationsBody,
            {"dataframe_records": [{"text": "a"}, {str(n): n for n in range(1_001)}]},
            "1001 columns or fields",
        ),
        (
            InvocationsBody,
            {"instances": [{f"{row} {n}": n for n in range(500)} for row in range(3)]},
            "1500 columns or fields",
        ),
        (InvocationsBody, {"inputs": {"text": ["a"] * 1_001}}, "1001 texts"),
        (
            InvocationsBody,
            {"dataframe_split": {"columns": ["text"], "data": [["a"]] * 1_001}},
            "1001 texts",
        ),
    ],
)
def test_a_large_body_is_refused_before_much_is_made_of_it(
    kind: type[Body], body: Any, expected: str
) -> None:
    with pytest.raises(DataError) as raised:
        parse_body(kind, json.dumps(body).encode(), max_texts=MOST)
    assert str(raised.value).startswith(expected)
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize("form", ["dataframe_records", "inputs", "instances"])
@pytest.mark.parametrize("value", [[], {"a": []}, [[]]])
def test_a_list_has_few_errors_however_long_it_is(form: str, value: Any) -> None:
    with pytest.raises(DataError) as raised:
        parse_body(InvocationsBody, json.dumps({form: [value] * 1_000}).encode(), max_texts=MOST)
    more = re.search(r"and (\d+) more", str(raised.value))
    assert not more or int(more[1]) < 10


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"texts": ["\\ud800"]}', b"\xff", b"null", b"1" * 5_000]
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    for kind in (ClassifyBody, InvocationsBody):
        with pytest.raises(DataError):
            parse_body(kind, content, max_texts=MOST)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.dictionaries(st.sampled_from(["texts", *InvocationsBody.FORMS, "params"]) | st.text(), _JSON)
)
def test_any_json_is_rows_or_refused(body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    for kind in (ClassifyBody, InvocationsBody):
        with suppress(DataError):
            rows = parse_body(kind, content, max_texts=MOST)
            assert rows.texts
            assert all(len(values) == len(rows.texts) for values in rows.columns.values())
