"""CSV and Parquet files are sources too: tables in memory, read again when they change."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyfunc.business.lookup import Lookup, open_source
from pyfunc.business.spec import LookupSpec
from tests.pyfunc.business.sources import Source, found

CSV = "id,tier,since,vip,size\n007,gold,2026-11-29,true,1.5\n8,,2026-11-30,FALSE,2\n"
QUERY = "select id, tier from customer where id in :keys"


def source_of(path: Path, content: str | pa.Table) -> Source:
    if isinstance(content, str):
        path.write_text(content)
    else:
        pq.write_table(content, path)
    return Source("sqlite", str(path))


def test_a_csv_file_has_texts_unless_all_are_numbers_or_truths(tmp_path: Path) -> None:
    source = source_of(tmp_path / "customer.csv", CSV)
    lookup = source.look_up("select id, tier, since, vip, size from customer where id in :keys")
    assert lookup.spec.key_type == "string"  # 007 is no 7
    kinds = {"tier": "string", "since": "string", "vip": "boolean", "size": "number"}
    assert dict(lookup.spec.columns) == kinds
    assert found(lookup, ["007", "8", 8, 7]) == [
        ("gold", "2026-11-29", True, 1.5),
        (None, "2026-11-30", False, 2.0),
        (None, "2026-11-30", False, 2.0),
        (None, None, None, None),
    ]


def test_a_field_of_csv_may_have_lines_and_quotes(tmp_path: Path) -> None:
    source = source_of(tmp_path / "customer.csv", 'id,tier\n1,"a\nb"\n2,"c""d"\n3,"e,f"\n')
    assert found(source.look_up(QUERY), [1, 2, 3]) == [("a\nb",), ('c"d',), ("e,f",)]


PARQUET: dict[str, tuple[pa.Array, list[Any]]] = {
    "uint64": (pa.array([1, 2**63 - 1], pa.uint64()), [1, 2**63 - 1]),
    "decimal": (pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), [1.5, None]),
    "timestamp": (
        pa.array([datetime(2026, 11, 29, tzinfo=UTC), None], pa.timestamp("ns", "Asia/Kathmandu")),
        [datetime(2026, 11, 29, tzinfo=UTC), None],
    ),
    "date": (pa.array([date(2026, 11, 29), None]), [date(2026, 11, 29), None]),
    "list": (pa.array([["é", None], None]), ['["é", null]', None]),
    "struct": (pa.array([{"a": 1}, None]), ['{"a": 1}', None]),
    "dictionary": (pa.array(["a", None]).dictionary_encode(), ["a", None]),
    "nothing": (pa.nulls(2), [None, None]),
    "boolean": (pa.array([True, None]), [True, None]),
}


@pytest.mark.parametrize("kind", list(PARQUET))
def test_columns_of_parquet_have_a_type_of_few(tmp_path: Path, kind: str) -> None:
    column, expected = PARQUET[kind]
    source = source_of(tmp_path / "customer.parquet", pa.table({"id": [1, 2], "tier": column}))
    assert found(source.look_up(QUERY), [1, 2]) == [(value,) for value in expected]


def strict(path: Path, query: str = QUERY) -> Lookup:
    spec = LookupSpec("customer", "crm", "customer_id", query, "integer", {"tier": "string"})
    object.__setattr__(spec, "on_error", "reject")
    return Lookup(spec, lambda _: str(path))


BROKEN: dict[str, tuple[str, bytes | pa.Table | None]] = {
    "missing": ("customer.csv", None),
    "empty": ("customer.csv", b""),
    "ragged": ("customer.csv", b"id,tier\n1\n"),
    "no text": ("customer.csv", b"id,tier\n1,\xff\xfe\n"),
    "a name twice": ("customer.csv", b"id,tier,tier\n1,a,b\n"),
    "no parquet": ("customer.parquet", b"PAR1 is no file PAR1"),
    "a number that no database has": (
        "customer.parquet",
        pa.table({"id": pa.array([2**64 - 1], pa.uint64()), "tier": ["a"]}),
    ),
    "names that differ in case": ("customer.parquet", pa.table({"id": [1], "ID": [1]})),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_file_that_cannot_be_read_fails_its_rows(tmp_path: Path, what: str) -> None:
    name, content = BROKEN[what]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        pq.write_table(content, tmp_path / name)
    ((reason, mark),) = set(found(strict(tmp_path / name), [1, 2]))
    assert mark == "failed"
    assert reason.startswith("customer: crm: the file cannot be read (")
    assert str(tmp_path) not in reason


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "customer.csv"
    lookup = strict(path)
    path.write_text("id,tier\n1,gold\n")
    assert found(lookup, [1]) == [("gold",)]
    path.write_text("id,tier\n1,basic\n")
    assert found(lookup, [1]) == [("basic",)]
    path.write_text("id,tier\n")
    assert found(lookup, [1]) == [(None,)]
    path.unlink()
    assert found(lookup, [1])[0][1] == "failed"
    path.write_text("id,tier\n1,new\n")
    assert found(lookup, [1]) == [("new",)]


def test_no_query_writes_to_the_table(tmp_path: Path) -> None:
    path = tmp_path / "customer.csv"
    path.write_text("id,tier\n1,gold\n")
    query = "with k as (select 1) delete from customer where id in :keys"
    ((reason, _),) = set(found(strict(path, query), [1]))
    assert reason == "customer: crm: the query writes; expected one that reads"
    both = strict(path)
    assert found(both, [1]) == [("gold",)]
    object.__setattr__(both.spec, "query", query)
    found(both, [1])
    object.__setattr__(both.spec, "query", QUERY)
    assert found(both, [1]) == [("gold",)]


def test_threads_share_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "customer.csv"
    path.write_text("id,tier\n1,a\n")
    lookup = strict(path)

    def ask(number: int) -> Any:
        if number % 10 == 0:
            new = tmp_path / f"new-{number}"
            new.write_text(f"id,tier\n1,{'ab'[number % 20 // 10]}\n")
            new.replace(path)
        return found(lookup, [1])[0]

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(200))) <= {("a",), ("b",)}


@pytest.mark.parametrize("name", ['it"s a; table', "customer.v2", "select", "é"])
def test_a_table_is_named_as_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_text("id,tier\n1,gold\n")
    table = '"' + name.replace('"', '""') + '"'
    query = f"select id, tier from {table} where id in :keys"
    assert found(strict(path, query), [1]) == [("gold",)]
    database = open_source("crm", str(path), 1_000)
    assert database.describe(query) == [("id", "integer"), ("tier", "string")]
    assert database.fetch(query, [1]) == (["id", "tier"], [(1, "gold")])
