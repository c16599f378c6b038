"""Feedback from a table of SQLite or PostgreSQL, which is read and never written."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.common.errors import ParameterError
from tests.support.deliveries import Place
from tests.support.postgres import PASSWORD, Postgres
from tests.tasks.feedback.steps import NOON, load, publish_shard, take

MAKE = 'create table feedback (text text, "Label" text, shard text, "row" bigint, "when" {time}'
TIMES = {"sqlite": "text", "postgresql": "timestamptz"}


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A database of each kind, with a table of feedback."""
    if request.param == "sqlite":
        place = Place("sqlite", f"sqlite:///{tmp_path}/crm.db")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        place = Place("postgresql", server.new_schema())
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", place.url)
    place.query(MAKE.format(time=TIMES[place.backend]) + ', "by" text, other text)')
    return place


@pytest.fixture
def insert(place: Place) -> Callable[..., None]:
    """Insert a row of feedback of an hour after noon."""

    def insert(text: str, label: str, hour: int, row: str = "null, null") -> None:
        when = (NOON + timedelta(hours=hour)).isoformat()
        values = f"'{text}', '{label}', {row}, '{when}', 'anna', 'x'"
        place.query(f"insert into feedback values ({values})")

    return insert


def test_rows_of_a_table_are_taken_once(
    place: Place, home: Path, insert: Callable[..., None], tmp_path: Path
) -> None:
    shard = publish_shard(tmp_path)
    insert("great", "negative", 1)
    insert("", "negative", 2, f"'{shard}', 3")
    insert("bad", "nonsense", 3)
    request: dict[str, Any] = {"feedback_table": "crm.feedback", "scored": str(tmp_path)}
    found = take(**request)
    assert (found.taken, found.refused, found.unreadable) == (2, {"label: unknown": 1}, {})
    rows = load(home).rows
    assert rows["text"].tolist() == ["great", "a film, 1 3"]
    assert rows["when"].tolist() == [NOON + timedelta(hours=hour) for hour in (1, 2)]
    assert rows["model_uri"].tolist() == ["models:/p/2", "models:/p/1"]
    place.query("delete from feedback where text = 'great'")
    insert("great", "negative", 1)  # in another place of the table
    again = take(**request)
    assert (again.taken, again.duplicates, again.batch) == (0, 2, "")
    insert("great", "positive", 4)
    found = take(**request)
    assert (found.taken, found.duplicates) == (1, 2)
    assert load(home).rows["label"].tolist() == ["negative", "positive"]


def test_a_label_without_a_time_is_refused(place: Place, home: Path) -> None:
    place.query("insert into feedback (text, \"Label\") values ('great', 'positive')")
    found = take(feedback_table="crm.feedback")
    assert (found.taken, found.refused) == (0, {"when: missing": 1})


def test_what_cannot_be_read_is_named_without_its_address(
    place: Place, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "a.csv").write_text("text,label\ngood,positive\n")
    place.query("create table other (text text, label text)")
    assert take(feedback_table="crm.other").unreadable == {
        "crm.other": "crm.other: no column 'when'; expected one with the time of each label"
    }
    assert take(feedback_table="crm.gone").unreadable == {
        "crm.gone": "crm.gone: there is no such table; expected one of feedback"
    }
    away = "postgresql://u:" + PASSWORD + "@127.0.0.1:1/d"
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", away)
    found = take(feedback_table="crm.feedback")
    assert found.unreadable == {
        "crm.feedback": "crm.feedback: no connection; expected a table that can be read"
    }
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", str(inbox / "a.csv"))
    with pytest.raises(ParameterError, match=r"^MILLSTREAM_SOURCE_CRM: names a file with rows"):
        take(feedback_table="crm.feedback")
    monkeypatch.delenv("MILLSTREAM_SOURCE_CRM")
    with pytest.raises(ParameterError, match=r"^MILLSTREAM_SOURCE_CRM: not set, and there is no"):
        take(feedback_table="crm.feedback")


def test_a_name_of_another_form_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"^feedback_table: 'feedback' names no table; expect"):
        take(feedback_table="feedback")
