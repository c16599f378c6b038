"""A missing table is made; one that is there is checked, and left alone if it drifted."""

from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.common.errors import DeliveryError
from tasks.delivery.checks import prepare_target
from tasks.delivery.shard_delivery import deliver_shard
from tests.support.deliveries import TARGET, Place, deliver_alone, publish, shard_id, texts

HOSTILE = [
    "Robert'); drop table predictions;--",
    'a "quoted" name',
    "100 %s %(x)s %%",
    ":bind :x::text",
    "Mixed Case",
    " outer blanks ",
    "很好",
    "a.b",
    "a\nb\t",
    "select",
    "back\\slash [x] `y`",
    "?",
    "$1",
    "{}",
]

ROWS = pa.table({"text": ["a film"], "stars": [5], "score": [0.5], "seen": [True]})
NAMED = {
    "postgresql": {
        "text": "text",
        "stars": "bigint",
        "score": "double precision",
        "seen": "boolean",
    },
    "sqlite": {"text": "TEXT", "stars": "BIGINT", "score": "REAL", "seen": "BOOLEAN"},
}


def make_table(place: Place, *more: str, **types: str) -> None:
    """Make the table of `ROWS` by hand, with other types and more columns."""
    columns = {**NAMED[place.backend], "shard": "text", "row": "bigint", **types}
    listed = [f'"{name}" {kind}' for name, kind in columns.items() if kind]
    place.query(f"create table predictions ({', '.join([*listed, *more])})")


def deliver(place: Place, folder: Path, rows: pa.Table = ROWS) -> int:
    return deliver_alone(publish(folder, rows), folder, TARGET, place.address).rows


def refusal(place: Place, folder: Path, rows: pa.Table = ROWS) -> str:
    """Return why a delivery is refused; the table is as it was, and the line names it."""
    with pytest.raises(DeliveryError) as caught:
        deliver(place, folder, rows)
    message = str(caught.value)
    start = f"crm.predictions: {shard_id()}: "
    assert message.startswith(start)
    assert "\n" not in message
    return message.removeprefix(start)


def test_table_has_a_key_that_finds_a_shard(place: Place, tmp_path: Path) -> None:
    deliver(place, tmp_path)
    with pytest.raises(Exception, match=r"(?i)unique"):
        place.query("insert into predictions (shard, row) select shard, row from predictions")


def test_names_of_columns_may_be_anything(place: Place, tmp_path: Path) -> None:
    rows = pa.table({name: [f"a {number}"] for number, name in enumerate(HOSTILE)})
    deliver(place, tmp_path, rows)
    deliver(place, tmp_path, rows.set_column(0, HOSTILE[0], [["b"]]))
    ((*values, _, row),) = place.rows()
    assert values == ["b", *(f"a {number}" for number in range(1, len(HOSTILE)))]
    assert row == 1


def test_column_without_a_name_gets_one(place: Place, tmp_path: Path) -> None:
    deliver(place, tmp_path, pa.table({"": [7], "text": ["a"]}))
    assert place.rows("unnamed, text") == [(7, "a")]


def test_names_that_would_be_one_are_refused(place: Place, tmp_path: Path) -> None:
    assert refusal(place, tmp_path, pa.table({"": [7], "unnamed": ["a"]})) == (
        "2 columns share the name 'unnamed'; expected different names"
    )
    both = pa.table({"Text": ["a"], "text": ["b"]})
    if place.backend == "sqlite":
        assert "the columns 'Text' and 'text' differ in case alone" in refusal(
            place, tmp_path, both
        )
    else:
        assert deliver(place, tmp_path, both) == 1
        assert place.rows('"Text", text') == [("a", "b")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ä" * 32, "has a name of 64 bytes; expected at most 63, since PostgreSQL cuts it"),
        ("ctid", "column 'ctid' has a name that PostgreSQL needs"),
        ("a\0b", "column 'a\\x00b' has a NUL character"),
    ],
)
def test_names_that_postgresql_cannot_have_are_refused(
    postgres_place: Place, tmp_path: Path, name: str, said: str
) -> None:
    assert said in refusal(postgres_place, tmp_path, pa.table({name: ["a"]}))
    assert postgres_place.query(
        "select count(*) from pg_tables where schemaname = current_schema()"
    ) == [(0,)]


def test_more_columns_than_a_table_can_have_are_refused(place: Place, tmp_path: Path) -> None:
    rows = pa.table({f"c{number}": ["a"] for number in range(2_100)})
    assert "2102 columns are to be delivered; expected at most" in refusal(place, tmp_path, rows)


def test_columns_of_the_user_are_left_alone(place: Place, tmp_path: Path) -> None:
    number = "serial" if place.backend == "postgresql" else "integer"
    make_table(
        place,
        "note text",
        "made timestamp default current_timestamp not null",
        *([f"id {number} primary key"]),
    )
    deliver(place, tmp_path)
    deliver(
        place, tmp_path, pa.table({**{n: ROWS[n] for n in ROWS.column_names[1:]}, "text": ["b"]})
    )
    assert place.rows("id > 0, text, note, made is null") == [(True, "b", None, False)]


def test_table_of_another_order_and_of_types_that_hold_the_same_is_taken(
    place: Place, tmp_path: Path
) -> None:
    synonyms = {
        "postgresql": {"text": "varchar", "stars": "numeric"},
        "sqlite": {"text": "varchar(20)", "stars": "integer", "score": " "},  # a column of any type
    }
    make_table(place, **synonyms[place.backend])
    deliver(place, tmp_path, ROWS.select(["seen", "text", "stars", "score"]))
    assert place.rows("text, stars, score") == [("a film", 5, 0.5)]


def test_column_that_a_shard_lacks_is_null(place: Place, tmp_path: Path) -> None:
    deliver(place, tmp_path)
    deliver(place, tmp_path, ROWS.drop_columns(["stars"]))
    assert place.rows("text, stars") == [("a film", None)]


def test_missing_column_is_drift(place: Place, tmp_path: Path) -> None:
    make_table(place, stars="")
    expected = NAMED[place.backend]["stars"]
    assert refusal(place, tmp_path) == (
        f"the table predictions has no column 'stars'; expected one of type {expected}"
    )
    assert place.rows() == []


def test_another_type_is_drift(place: Place, tmp_path: Path) -> None:
    make_table(place, score="text")
    found, expected = ("text", "double precision")
    if place.backend == "sqlite":
        found, expected = "TEXT", "REAL"
    assert refusal(place, tmp_path) == (
        f"the column 'score' of predictions is {found}; expected {expected}"
    )
    assert place.rows() == []


def test_column_that_must_be_given_is_drift(place: Place, tmp_path: Path) -> None:
    make_table(place, "customer text not null")
    assert refusal(place, tmp_path).startswith(
        "the column 'customer' of predictions is NOT NULL without a default"
    )
    assert place.rows() == []


def test_type_that_drifts_between_two_shards_is_refused(place: Place, tmp_path: Path) -> None:
    deliver(place, tmp_path)
    other = ROWS.set_column(1, "stars", [["five"]])
    assert "the column 'stars' of predictions is" in refusal(place, tmp_path, other)
    assert place.rows("stars") == [(5,)]
    nothing = ROWS.set_column(1, "stars", pa.nulls(1))
    assert deliver(place, tmp_path, nothing) == 1


@pytest.mark.parametrize("kind", ["generated always as (1) stored", "varchar(3)"])
def test_columns_that_cannot_take_the_values_are_drift(
    postgres_place: Place, tmp_path: Path, kind: str
) -> None:
    types = {"stars": f"bigint {kind}"} if "generated" in kind else {"text": kind}
    make_table(postgres_place, **types)
    assert "of predictions is " in refusal(postgres_place, tmp_path)


def test_view_is_no_table(place: Place, tmp_path: Path) -> None:
    place.query("create view predictions as select 1 as row")
    assert "predictions is no table; expected one, or a free name" in refusal(place, tmp_path)


def test_ledger_of_another_make_is_drift(place: Place, tmp_path: Path) -> None:
    place.query("create table millstream_deliveries (target text, shard text)")
    assert "the table millstream_deliveries has no column 'digest'" in refusal(place, tmp_path)


def test_constraint_of_the_user_is_named_without_a_value(place: Place, tmp_path: Path) -> None:
    make_table(place, "check (text <> 'a film')")
    said = refusal(place, tmp_path)
    assert "a constraint of the table refuses a row" in said
    assert "a film" not in said
    assert place.rows() == []


def test_null_in_a_column_that_may_have_none_names_it(place: Place, tmp_path: Path) -> None:
    make_table(place, text="text not null")
    said = refusal(place, tmp_path, ROWS.set_column(0, "text", pa.nulls(1, pa.string())))
    assert "a constraint of the table refuses a row" in said
    if place.backend == "postgresql":
        assert "(column 'text')" in said


def test_texts_of_any_content_fit_the_drifted_table_of_an_earlier_run(
    place: Place, tmp_path: Path
) -> None:
    deliver(place, tmp_path, texts(["a"]))
    wider = texts(["a"]).append_column("label", pa.array(["x"]))
    assert "has no column 'label'" in refusal(place, tmp_path, wider)
    assert place.rows("text") == [("a",)]


def test_columns_of_several_files_are_prepared_before_the_first_shard(
    place: Place, tmp_path: Path
) -> None:
    rows = [
        pa.table({"text": ["a"], "label": pa.nulls(1)}),
        pa.table({"text": ["b"], "stars": [5]}),
        pa.table({"label": ["x"], "text": ["c"]}),
    ]
    key = pa.schema([("shard", pa.string()), ("row", pa.int64())])
    names = ("a.csv", "b.csv", "c.csv")
    schemas = {
        name: pa.unify_schemas([table.schema, key]) for name, table in zip(names, rows, strict=True)
    }
    prepare_target(TARGET, place.address, schemas)
    for number, table in enumerate(rows, start=1):
        record = publish(tmp_path, table, shard_id(number))
        deliver_shard(record, tmp_path, TARGET, place.address)
    assert place.rows("text, label, stars") == [("a", None, None), ("b", None, 5), ("c", "x", None)]
    prepare_target(TARGET, place.address, schemas)
    prepare_target(TARGET, place.address, {})
    with pytest.raises(DeliveryError) as caught:
        prepare_target(
            TARGET, place.address, {**schemas, "d.csv": pa.schema([("stars", pa.string())])}
        )
    assert str(caught.value) == (
        "crm.predictions: the column 'stars' is integer in b.csv and text in d.csv; expected one "
        "type in all files"
    )


def test_no_table_is_made_of_one_shard_where_files_do_not_agree(
    place: Place, tmp_path: Path
) -> None:
    tables = [pa.table({"stars": [5]}), pa.table({"stars": ["five"]})]
    records = [publish(tmp_path, table, shard_id(n)) for n, table in enumerate(tables)]
    with pytest.raises(DeliveryError, match="expected one type in all files"):
        prepare_target(
            TARGET, place.address, {"a.csv": tables[0].schema, "b.csv": tables[1].schema}
        )
    for record in records:
        with pytest.raises(DeliveryError) as caught:
            deliver_shard(record, tmp_path, TARGET, place.address)
        assert str(caught.value) == (
            f"crm.predictions: {record.shard.id}: there is no table predictions; expected the one "
            "that a run makes before its first delivery, if the columns of all files agree"
        )
    key = pa.schema([("shard", pa.string()), ("row", pa.int64())])
    prepare_target(TARGET, place.address, {"a.csv": pa.unify_schemas([tables[0].schema, key])})
    deliver_shard(records[0], tmp_path, TARGET, place.address)
    assert place.rows("stars") == [(5,)]


def test_names_that_differ_in_case_keep_their_own_file_from_sqlite_alone(tmp_path: Path) -> None:
    place = Place("sqlite", f"sqlite:///{tmp_path}/crm.db")
    tables = {
        "a.csv": pa.table({"text": ["a"], "Channel": ["web"], "shard": [shard_id(1)], "row": [1]}),
        "b.csv": pa.table({"text": ["b"], "Row": ["r"], "shard": [shard_id(2)], "row": [1]}),
        "c.csv": pa.table({"text": ["c"], "channel": ["app"], "shard": [shard_id(3)], "row": [1]}),
    }
    with pytest.raises(DeliveryError) as caught:
        prepare_target(TARGET, place.address, {n: t.schema for n, t in tables.items()})
    assert str(caught.value) == (
        "crm.predictions: b.csv: the columns 'Row' and 'row' differ in case alone; expected names "
        "that SQLite tells apart"
    )
    for number, table in enumerate(tables.values(), start=1):
        record = publish(tmp_path, table, shard_id(number))
        with nullcontext() if number != 2 else pytest.raises(DeliveryError, match="in case alone"):
            deliver_shard(record, tmp_path, TARGET, place.address)
    assert place.rows("text, channel") == [("a", "web"), ("c", "app")]
