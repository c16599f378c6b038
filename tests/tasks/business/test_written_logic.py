"""Each fault of look-ups and rules in a composition file is one line, before any work."""

import traceback
from pathlib import Path

import pytest

from tasks.common.errors import ParameterError
from tasks.composition.composition_file import read_composition

PASSWORD = "the-password-that-none-may-quote"

LOOKUP: dict[str, object] = {
    "name": "customer",
    "source": "crm",
    "key": "customer_id",
    "query": "select id, tier from customer where id in :keys",
}
RULES = "rules: ticket_rules.py\n"


def written(folder: Path, *lookups: dict[str, object], rest: str = "") -> Path:
    lines = "".join(
        "  - {" + ", ".join(f"{name}: {value!r}" for name, value in one.items()) + "}\n"
        for one in lookups
    )
    path = folder / "tickets.yaml"
    given = f"lookups:\n{lines}" if lookups else ""
    path.write_text(f"members:\n  film: {{model: 1}}\nanswer: film\n{given}{rest}")
    return path


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in LOOKUP.items() if name not in names}


def test_look_ups_are_read_as_they_are_written(tmp_path: Path) -> None:
    rest = "    missing: null\n    timeout_ms: 200\n"
    path = written(tmp_path)
    path.write_text(
        path.read_text()
        + "lookups:\n  - name: customer\n    source: crm\n    key: customer_id\n"
        + "    query: |\n      select id, tier\n      from customer where id IN :keys;\n"
        + rest
        + RULES
        + "columns: [channel]\ndecisions: {queue: string}\n"
    )
    found = read_composition(path)
    (lookup,) = found.lookups
    assert lookup.query == "select id, tier\nfrom customer where id IN :keys"
    assert (lookup.missing, lookup.when_failed, lookup.timeout_ms) == ("null", "null", 200)
    assert (found.rules, found.columns) == ("ticket_rules.py", ("channel",))
    assert found.decisions == {"queue": "string"}


def test_what_failed_is_treated_as_what_is_missing_unless_it_is_said(tmp_path: Path) -> None:
    for missing, on_error, expected in (
        ("reject", None, "reject"),
        ("reject", "null", "null"),
        ("null", "reject", "reject"),
    ):
        more = {"missing": missing} | ({"on_error": on_error} if on_error else {})
        found = read_composition(written(tmp_path, LOOKUP | more))
        assert found.lookups[0].when_failed == expected


FAULTS: dict[str, tuple[list[dict[str, object]], str, str]] = {
    "a key twice": (
        [LOOKUP, LOOKUP],
        "",
        "lookups: 'customer' twice; expected names that differ",
    ),
    "no name": ([without("name")], "", "lookups.0.name: missing; expected a value"),
    "no query": ([without("query")], "", "lookups.0.query: missing; expected a value"),
    "unknown key": (
        [LOOKUP | {"cache": "yes"}],
        "",
        "lookups.0.cache: unknown key; expected one of ['name', 'source', 'key', 'query',",
    ),
    "a name with blanks": (
        [LOOKUP | {"name": "the customer"}],
        "",
        "lookups.0.name: 'the customer'; expected a lower-case letter, then such letters, digits",
    ),
    "a source that is an address": (
        [LOOKUP | {"source": f"postgresql://u:{PASSWORD}@host/crm"}],
        "",
        "lookups.0.source: an address; expected a lower-case letter",
    ),
    "no select": (
        [LOOKUP | {"query": "delete from customer where id in :keys"}],
        "",
        "lookups.0.query: no SELECT; expected select key, column from table ...",
    ),
    "no keys": (
        [LOOKUP | {"query": "select id, tier from customer"}],
        "",
        "lookups.0.query: no keys; expected a condition such as id in :keys",
    ),
    "keys in parentheses": (
        [LOOKUP | {"query": "select id from customer where id in (:keys)"}],
        "",
        "lookups.0.query: (:keys); expected :keys without parentheses",
    ),
    "another parameter": (
        [LOOKUP | {"query": "select id from customer where id in :keys and tier = :tier"}],
        "",
        "lookups.0.query: :tier; expected no parameter but :keys, and \\: for a colon",
    ),
    "keys that are excluded": (
        [LOOKUP | {"query": "select id from customer where id not in :keys"}],
        "",
        "lookups.0.query: not in :keys; expected id in :keys",
    ),
    "a time of zero": (
        [LOOKUP | {"timeout_ms": 0}],
        "",
        "lookups.0.timeout_ms: 0; input should be greater than or equal to 1",
    ),
    "a time too long": (
        [LOOKUP | {"timeout_ms": 60_001}],
        "",
        "lookups.0.timeout_ms: 60001; input should be less than or equal to 60000",
    ),
    "another word for missing": (
        [LOOKUP | {"missing": "skip"}],
        "",
        "lookups.0.missing: 'skip'; input should be 'null' or 'reject'",
    ),
    "another type": (
        [LOOKUP],
        "decisions: {queue: text}\n" + RULES,
        "decisions.queue: 'text'; input should be 'string', 'integer', 'number', 'boolean',",
    ),
    "the text as key": (
        [LOOKUP | {"key": "text"}],
        "",
        "lookups.customer.key: 'text'; expected another column, rules have that one",
    ),
    "a key that a prediction is called": (
        [LOOKUP | {"key": "prediction_label"}],
        "",
        "lookups.customer.key: 'prediction_label'; expected another column, rules have that one",
    ),
    "a column that is one of a look-up": (
        [LOOKUP],
        "columns: [customer.tier]\n" + RULES,
        "columns: 'customer.tier'; expected a name without that of a look-up",
    ),
    "a column twice": ([], "columns: [a, a]\n" + RULES, "columns: 'a' twice; expected names"),
    "columns without rules": (
        [LOOKUP],
        "columns: [channel]\n",
        "columns: there are no rules; expected rules with them",
    ),
    "decisions without rules": (
        [LOOKUP],
        "decisions: {queue: string}\n",
        "decisions: there are no rules; expected rules with them",
    ),
    "a decision of a rule's name": (
        [],
        "decisions: {deliver: boolean}\n" + RULES,
        "decisions.deliver: expected another name, a rule is called so",
    ),
    "look-ups by name": ([], "lookups: {customer: {}}\n", "lookups: {'customer': {}}; input sh"),
    "no look-up": ([], "lookups: [customer]\n", "lookups.0: 'customer'; expected the keys ['name'"),
    "rules that are a list": ([], "rules: [a.py]\n", "rules: ['a.py']; expected a text"),
    "too many": (
        [LOOKUP | {"name": f"n{number}"} for number in range(17)],
        "",
        "lookups: ",
    ),
}


@pytest.mark.parametrize("what", list(FAULTS))
def test_a_fault_is_one_line_with_file_and_place(tmp_path: Path, what: str) -> None:
    lookups, rest, reason = FAULTS[what]
    path = written(tmp_path, *lookups, rest=rest)
    with pytest.raises(ParameterError) as caught:
        read_composition(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {reason}")
    assert "expected" in message or "should be" in message
    assert "\n" not in message
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
