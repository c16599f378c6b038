"""Look-ups are checked against their sources, and rules against examples, before any work."""

import logging
import os
import textwrap
import traceback
from pathlib import Path
from typing import Any

import pytest

from tasks.business.planning import plan_business
from tasks.business.types import BusinessPlan, PossibleAnswers
from tasks.business.written_logic import BusinessLogicFile
from tasks.common.errors import ParameterError
from tests.support.deliveries import Place
from tests.support.postgres import PASSWORD, Postgres

LABELS = ("negative", "positive")
QUERY = "select id, tier from customer where id in :keys"
TABLE = (
    "create table customer (id integer, tier text, credit numeric(9, 2), vip boolean, born date)"
)


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "sqlite":
        found = Place("sqlite", f"sqlite:///{tmp_path}/crm.db")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        found = Place("postgresql", server.new_schema())
    found.query(TABLE)
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", found.url)
    return found


def planned(
    folder: Path, rules: str | bytes = "", *queries: str, **settings: Any
) -> BusinessPlan | None:
    """Plan the rules of an author beside look-ups of a source."""
    lookups = [
        {"name": f"customer_{n}"[: 8 + 2 * (n > 0)], "source": "crm", "key": "id", "query": query}
        | settings.get("lookup", {})
        for n, query in enumerate(queries)
    ]
    written: dict[str, Any] = {"lookups": lookups}
    if rules:
        path = folder / "ticket_rules.py"
        if isinstance(rules, str):
            rules = ("import pandas as pd\n\n" + textwrap.dedent(rules)).encode()
        path.write_bytes(rules)
        written["rules"] = path.name
    written |= settings.get("file", {})
    file = BusinessLogicFile.model_validate(written)
    return plan_business(file, folder / "tickets.yaml", PossibleAnswers(labels=LABELS))


def fault(folder: Path, rules: str | bytes = "", *queries: str, **settings: Any) -> str:
    """Return the one line of what is refused."""
    with pytest.raises(ParameterError) as caught:
        planned(folder, rules, *queries, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    return message


def spec_of(folder: Path, rules: str | bytes = "", *queries: str, **settings: Any) -> Any:
    plan = planned(folder, rules, *queries, **settings)
    assert plan is not None
    return plan.spec


def test_types_are_those_of_the_database(place: Place, tmp_path: Path) -> None:
    query = "select id, tier, credit, vip, born from customer where id in :keys"
    (lookup,) = spec_of(tmp_path, "", query).lookups
    assert lookup.key_type == "integer"
    assert dict(lookup.columns) == {
        "tier": "string",
        "credit": "number",
        "vip": "boolean",
        "born": "date",
    }
    declared = {"columns": {"credit": "string"}}
    (lookup,) = spec_of(tmp_path, "", query, lookup=declared).lookups
    assert lookup.columns["credit"] == "string"


QUERIES = {
    "table": "select id from nowhere where id in :keys",
    "column": "select id, none from customer where id in :keys",
    "syntax": "select id from where id in :keys",
    "write": "with k as (select 1) delete from customer where id in :keys",
    "unnamed": "select id, 1 + 1 from customer where id in :keys",
    "twice": "select id, tier, tier from customer where id in :keys",
}


@pytest.mark.parametrize(
    ("what", "sqlite", "postgresql"),
    [
        ("table", "OperationalError SQLITE_ERROR): no such table: nowhere", 'relation "nowhere"'),
        ("column", "OperationalError SQLITE_ERROR): no such column: none", 'column "none" does'),
        ("syntax", 'OperationalError SQLITE_ERROR): near "where": syntax error', "syntax error"),
        ("write", 'OperationalError SQLITE_ERROR): near "delete"', "the query writes; expected"),
        ("unnamed", "the column '1 + 1'; expected names of", "the column '?column?'; expected"),
        ("twice", "the column 'tier:1'; expected names of", "['tier'] twice; expected each once"),
    ],
)
def test_a_query_at_fault_is_refused_with_what_the_database_says(
    place: Place, tmp_path: Path, what: str, sqlite: str, postgresql: str
) -> None:
    message = fault(tmp_path, "", QUERIES[what])
    assert message.startswith(f"{tmp_path}/tickets.yaml: lookups.customer.query: ")
    if place.backend == "sqlite":
        assert sqlite in message
    else:
        assert postgresql in message
    if what in ("write", "twice"):
        assert place.query("select count(*) from customer") == [(0,)]


def test_a_first_column_that_is_not_what_keys_are_compared_to(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place("postgresql", postgres.new_schema())
    place.query(TABLE)
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", place.url)
    message = fault(tmp_path, "", "select id, tier from customer where tier in :keys")
    assert "lookups.customer.query: crm: the query failed (UndefinedFunction 42883): " in message
    query = "select tier, id from customer where id in :keys"  # of which no text is one
    assert spec_of(tmp_path, "", query).lookups[0].key_type == "string"


@pytest.mark.parametrize(
    "kind", ["integer", "text", "numeric", "real", "uuid", "date", "timestamp"]
)
def test_a_key_of_each_type_is_tried(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place = Place("postgresql", postgres.new_schema())
    place.query(f"create table t (id {kind}, tier text)")
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", place.url)
    (lookup,) = spec_of(tmp_path, "", "select id, tier from t where id in :keys").lookups
    kinds = {"text": "string", "numeric": "number", "real": "number"}
    assert lookup.key_type == kinds.get(kind, kind)


def test_columns_that_the_query_does_not_have(place: Place, tmp_path: Path) -> None:
    message = fault(tmp_path, "", QUERY, lookup={"columns": {"rank": "string"}})
    assert message.endswith(
        "lookups.customer.columns: ['rank']; expected columns of the query: ['tier']"
    )


def test_two_columns_of_one_name_in_the_output(place: Place, tmp_path: Path) -> None:
    lookups = [
        {"name": name, "source": "crm", "key": "id", "query": query}
        for name, query in (
            ("a", "select id, tier as b_c from customer where id in :keys"),
            ("a_b", "select id, tier as c from customer where id in :keys"),
        )
    ]
    message = fault(tmp_path, "", file={"lookups": lookups})
    assert message.endswith(
        "lookups: two columns are lookup_a_b_c in the output; expected other names"
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "source: MILLSTREAM_SOURCE_CRM: not set"),
        (f"mysql://u:{PASSWORD}@host/crm", "source: MILLSTREAM_SOURCE_CRM: the scheme is not sup"),
        (f"postgresql://u:{PASSWORD}@127.0.0.1:1/crm", "query: crm: no connection"),
        ("sqlite:////nowhere/crm.db", "query: crm: no connection"),
        ("/nowhere/customer.csv", "source: crm: the file cannot be read (FileNotFoundError)"),
    ],
)
def test_a_source_at_fault_is_refused_without_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", address)
    message = fault(tmp_path, "", QUERY)
    assert message.startswith(f"{tmp_path}/tickets.yaml: lookups.customer.{reason}")
    assert [part for part in (PASSWORD, "127.0.0.1", "nowhere") if part in message] == []


# Rules

RULES = """
def before(rows):
    return rows["text"].str[:0]

def after(rows):
    weight = rows["prediction_score"] * 2
    return pd.DataFrame({"queue": rows["prediction_label"], "weight": weight, "note": rows["note"]})

def deliver(rows):
    return rows["decision_weight"] > 1
"""
NOTE = {"columns": ["note"]}


def test_decisions_have_the_types_that_examples_show(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, RULES, file=NOTE)
    assert dict(spec.decisions) == {"queue": "string", "weight": "number", "note": "string"}
    assert (spec.delivers, spec.rules_file) == (True, "ticket_rules.py")
    spec = spec_of(tmp_path, RULES, file=NOTE | {"decisions": {"note": "date"}})
    assert spec.decisions["note"] == "date"


def test_a_decision_that_is_null_for_examples_has_the_type_of_its_column(
    place: Place, tmp_path: Path
) -> None:
    rules = """
    def after(rows):
        found = {"debt": -rows["c.credit"], "vip": rows["c.vip"], "tier": rows["c.tier"]}
        return pd.DataFrame(found)
    """
    query = "select id, tier, credit, vip from customer where id in :keys"
    spec = spec_of(tmp_path, rules, query, lookup={"name": "c"})
    assert dict(spec.decisions) == {"debt": "number", "vip": "boolean", "tier": "string"}


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "no python": ("def before(rows)\n    pass\n", ":3: expected ':'; expected Python"),
    "nothing": (b"", ": no rule; expected one of the functions before, text, after, deliver"),
    "no text": (b"\xff\xfe", ": 'utf-8' codec can't decode"),
    "null": (b"def before(rows): pass\0", ":1: source code string cannot contain null bytes; exp"),
    "too large": (b"#" * 300_000, ": larger than 262144 bytes; expected rules in Python"),
    "too deep": (
        b"x = " + b"(" * 5_000 + b")" * 5_000,
        ":1: too many nested parentheses; expected",
    ),
    "two arguments": (
        "def before(rows, more):\n    return rows\n",
        ":3: before has 2 arguments; expected one, the rows",
    ),
    "import": (
        "import nothing_of_this_name\n\ndef before(rows):\n    return rows\n",
        ": cannot be imported (ModuleNotFoundError: No module named 'nothing_of_this_name')",
    ),
    "exit at import": (
        "raise SystemExit(3)\n\ndef before(rows):\n    return rows\n",
        ": cannot be imported (SystemExit: 3)",
    ),
    "exit": (
        "def before(rows):\n    raise SystemExit(3)\n",
        ": before ends the program; expected a value a row",
    ),
    "no function": (
        "text = 'a'\n\ndef before(rows):\n    return rows['text'].str[:0]\n",
        ": text is a str; expected a function, or another name",
    ),
    "column": (
        "def before(rows):\n    return rows['tier']\n",
        ":4: the column 'tier' is not there; expected one of ['text']",
    ),
    "attribute": (
        "def before(rows):\n    return rows.tier\n",
        ":4: the column 'tier' is not there; expected one of ['text']",
    ),
    "prediction before it": (
        "def before(rows):\n    return rows['prediction_label']\n",
        ":4: the column 'prediction_label' is not there; expected one of ['text']",
    ),
    "list": (
        "def before(rows):\n    return ['']\n",
        ": before returned a list; expected a Series",
    ),
    "nothing returned": (
        "def before(rows):\n    pass\n",
        ": before returned a NoneType; expected a Series",
    ),
    "truths": (
        "def before(rows):\n    return rows['text'] == 'x'\n",
        ": before returned a bool; expected a reason or an empty text",
    ),
    "series of decisions": (
        "def after(rows):\n    return rows['text']\n",
        ": after returns a Series for examples whose look-ups are null; expected a DataFrame",
    ),
    "failing decisions": (
        "def after(rows):\n    raise ValueError\n",
        ": after fails on them for examples whose look-ups are null; expected a DataFrame",
    ),
    "decision of another name": (
        "def after(rows):\n    return pd.DataFrame({'The Queue': rows['text']})\n",
        ": after returns the columns ['The Queue']; expected names of a letter, then letters,",
    ),
    "decision of a number": (
        "def after(rows):\n    return pd.DataFrame({0: rows['text']})\n",
        ": after returns the columns [0]; expected names of a letter, then letters,",
    ),
    "decision twice": (
        "def after(rows):\n    a = rows[['text']]\n    return pd.concat([a, a], axis=1)\n",
        ": after returns the columns ['text', 'text']; expected each once",
    ),
    "decision of a rule's name": (
        "def after(rows):\n    return pd.DataFrame({'deliver': rows['text']})\n",
        ": after returns the columns ['deliver']; expected each once, and none 'deliver'",
    ),
    "fewer decisions": (
        "def after(rows):\n    return pd.DataFrame({'queue': rows['text']}).iloc[:0]\n",
        ": after queue: returned 0 values for 1 rows; expected one a row",
    ),
}


@pytest.mark.parametrize("what", list(FAULTS))
def test_rules_at_fault_are_one_line_with_file_and_place(tmp_path: Path, what: str) -> None:
    rules, reason = FAULTS[what]
    if not rules:
        rules = b"\n"
    message = fault(tmp_path, rules)
    assert message.startswith(f"{tmp_path}/ticket_rules.py{reason}")
    assert "expected" in message or "cannot be imported" in message


def test_rules_that_are_missing_a_folder_or_a_pipe(tmp_path: Path) -> None:
    for name, reason in (
        (
            "none.py",
            f"rules: {tmp_path}/none.py: No such file or directory; expected a Python file",
        ),
        (".", f"rules: {tmp_path}: Is a directory; expected a Python file"),
        ("pipe.py", f"{tmp_path}/pipe.py: no regular file; expected rules in Python"),
    ):
        if name == "pipe.py":
            os.mkfifo(tmp_path / name)
        assert fault(tmp_path, "", file={"rules": name}) == reason


def test_rules_of_another_system_begin_with_a_mark(tmp_path: Path) -> None:
    code = b"\xef\xbb\xbfdef text(rows):\r\n    return rows['text']\r\n"
    assert spec_of(tmp_path, code).rules_file == "ticket_rules.py"


def test_a_rule_that_fails_on_nulls_is_said_and_no_fault(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rules = """
    def before(rows):
        if rows["customer.tier"].isna().any():
            raise ValueError
        return rows["text"].str[:0]
    """
    spec_of(tmp_path, rules, QUERY)
    (said,) = caplog.messages
    assert said.startswith("ticket_rules.py:6: before raised ValueError for examples whose look-")
    assert said.endswith("and columns are null; such rows will be refused")


def test_a_dictionary_of_the_author_is_no_column(tmp_path: Path) -> None:
    rules = """
    QUEUES = {"gold": 1}

    def before(rows):
        return rows["text"].map(lambda _: QUEUES["basic"])
    """
    assert spec_of(tmp_path, rules).rules_file


def test_declared_decisions_take_the_place_of_examples(tmp_path: Path) -> None:
    rules = "def after(rows):\n    raise ValueError\n"
    declared = {"decisions": {"queue": "string"}}
    assert dict(spec_of(tmp_path, rules, file=declared).decisions) == {"queue": "string"}
    rules = "def text(rows):\n    return rows['text']\n"
    assert "has no after; expected one that returns them" in fault(tmp_path, rules, file=declared)
    message = fault(tmp_path, RULES, file=NOTE | declared | {"decisions": {"rank": "integer"}})
    assert message.startswith("decisions: ['rank']; expected columns that after returns: ['queue'")
