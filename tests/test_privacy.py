"""No text of a row is where it should not be: all that a run writes is searched for it."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

from flows.score_shards import score_shards
from tasks.common.errors import DataError, DeliveryError, ShardsFailedError
from tests.support.builders import Trained, train_tiny
from tests.support.business import build_with_rules, write_composition
from tests.support.postgres import PASSWORD, Postgres
from tests.support.scoring_command import wait_until

# Another than in other tests, whose reports lie in the same state folder and quote rows.
SECRET = "the-text-of-a-row-that-none-may-quote"

SECRETS = (SECRET, PASSWORD)

pytestmark = pytest.mark.usefixtures("prefect_with_events")

# What holds texts on purpose; docs/operate.md names it.
TABLES = {".parquet", ".csv", ".jsonl"}


@pytest.fixture
def written(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., list[str]]:
    """Tell which files of some folders have the secret, or of Prefect, or the log, or terminal."""
    caplog.set_level(logging.DEBUG)

    def written(*folders: Path) -> list[str]:
        shown = capfd.readouterr()
        said = {"logged": caplog.text, "printed": shown.out, "on standard error": shown.err}
        database = Path(PREFECT_API_DATABASE_CONNECTION_URL.value().partition(":///")[2])
        places = [*folders, database.parent, Path(os.environ["PREFECT_HOME"])]
        assert os.fsencode(tmp_path) in content_of(database)  # as parameters and logs are
        wait_until(lambda: b"prefect.task-run." in content_of(database), "the event of a task")
        files = {path for place in places for path in place.rglob("*") if path.is_file()}
        return [
            *(name for name, words in said.items() if any(text in words for text in SECRETS)),
            *(str(path) for path in files if is_searched(path) and holds_secret(path)),
        ]

    return written


def content_of(database: Path) -> bytes:
    return b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))


def is_searched(path: Path) -> bool:
    return path.suffix not in TABLES and "prediction-cache" not in path.parts


def holds_secret(path: Path) -> bool:
    content = path.read_bytes()
    return any(text.encode() in content for text in SECRETS)


def test_scoring_writes_texts_nowhere_but_in_its_tables(
    trained: Trained, tmp_path: Path, written: Callable[..., list[str]]
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "good.csv").write_text(
        f"text,label,{SECRET}\n{SECRET},{SECRET},{SECRET}\n{SECRET} 很好看的电影,positive,\n"
    )
    (folder / "wide.csv").write_text(f"text,label\n{SECRET},{SECRET},{SECRET}\na film,positive\n")
    (folder / "headless.csv").write_text(f"{SECRET},a\n{SECRET},b\n")
    (folder / "twice.csv").write_text(f"{SECRET},{SECRET}\n{SECRET},b\n")
    lines = [
        f'{{"text": "{SECRET}", "label": "{SECRET}"}}',
        f'{{"text": 1, "label": null, "{SECRET}": 2}}',
        f'{{"text": {{"{SECRET}": "{SECRET}"}}, "label": "x"}}',
        f'{{"text": "{SECRET}',
    ]
    (folder / "mixed.jsonl").write_text("\n".join(lines))
    (folder / "bytes.jsonl").write_bytes(
        b'{"label": "x", "text": "' + SECRET.encode() + b'\xff"}\n'
    )
    days = pa.array([2**30, 1], pa.int32()).view(pa.date32())
    pq.write_table(pa.table({"text": days, "label": [SECRET, SECRET]}), folder / "days.parquet")
    (folder / "broken.parquet").write_bytes(f"PAR1{SECRET}PAR1".encode())
    scoring = partial(score_shards, [str(folder)], str(output), label_column="label")
    with pytest.raises(ShardsFailedError):
        scoring(report_examples=0, attach_mib=0, output_format="csv", shard_rows=2)
    with pytest.raises(ShardsFailedError):
        scoring(dry_run=True)
    assert written(trained.home, output) == []
    assert any(SECRET in str(pq.read_table(path)) for path in output.glob("predictions/good*"))
    assert holds_secret(next(output.glob("rejected/wide*")))
    assert holds_secret(next(output.glob("predictions_csv/good*")))
    kept = [path for path in trained.home.glob("mlartifacts/score-shards/**/*") if path.is_file()]
    assert not [path for path in kept if holds_secret(path)]
    # Attached on purpose, and nothing else with it; `attach_mib` decides.
    with pytest.raises(ShardsFailedError):
        scoring(report_examples=0, output_format="jsonl")
    attached = [*trained.home.glob("mlartifacts/score-shards/**/predictions/good*.jsonl")]
    assert len(attached) == 1
    assert holds_secret(attached[0])
    assert written(trained.home, output) == []


LOOKUPS_BY_TEXT = """
lookups:
  - name: customer
    source: crm
    key: customer_id
    query: select name, tier from customer where name in :keys
  - name: account
    source: crm
    key: account
    query: select id::text, balance from account where id in :keys
    missing: reject
rules: ticket_rules.py
"""

# Quotes rows in the messages of its errors, and names its module's variables as they are.
QUOTING_RULES = """
import pandas as pd


def before(rows):
    for key in rows["customer_id"].dropna():
        if "second" in key:
            raise ValueError(key)
    return pd.Series("", index=rows.index)


def after(rows):
    return pd.DataFrame({"tier": rows["customer.tier"]})
"""


def test_look_ups_rules_and_deliveries_name_no_address_and_no_key(
    trained_anew: Trained,
    tmp_path: Path,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    written: Callable[..., list[str]],
) -> None:
    address = postgres.new_schema()
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", address)
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("create table customer (name text primary key, tier text)")
        database.execute("create table account (id integer primary key, balance integer)")
        database.execute("insert into customer values (%s, 'gold')", [SECRET])
        database.execute("insert into account values (1, 7)")
    finetuned = trained_anew.training["finetuned_model"]
    composition = write_composition(
        tmp_path, finetuned, lookups=LOOKUPS_BY_TEXT, rules=QUOTING_RULES
    )
    version = build_with_rules(composition)
    table = tmp_path / "tickets.csv"
    keys = [(SECRET, "1"), (f"{SECRET} second", "1"), (SECRET, SECRET), (f"{SECRET}'; --", "2")]
    rows = [("an awful film", *key) for key in keys]
    pd.DataFrame(rows, columns=["text", "customer_id", "account"]).to_csv(table, index=False)
    output = tmp_path / "out"
    scoring = partial(
        score_shards,
        [str(table)],
        str(output),
        model_uri=version,
        deliver_to="crm.predictions",
        report_examples=0,
        attach_mib=0,
    )
    summary = scoring()
    assert (summary["scored"], summary["rejected"]) == (1, 3)
    assert set(summary["rejected_because"]) == {
        "rules: ticket_rules.py:8: before raised ValueError",
        "lookup: account: no row of this account",
    }
    assert written(trained_anew.home, output) == []
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("alter table account drop column balance")
        database.execute("alter table predictions drop column text")
    with pytest.raises(DeliveryError) as caught:
        scoring(resume=False)
    assert PASSWORD not in str(caught.value)
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", address.replace(PASSWORD, f"{SECRET}"))
    with pytest.raises(DeliveryError, match=r"crm\.predictions") as caught:
        scoring(resume=False)
    assert SECRET not in str(caught.value)
    assert written(trained_anew.home, output) == []


@pytest.mark.usefixtures("new_database")
@pytest.mark.parametrize(
    ("content", "suffix", "parameters"),
    [
        (f"{SECRET},a\n{SECRET},b\n", ".csv", {}),
        (f"text,label\n{SECRET},a,b\n", ".csv", {}),
        (f"text,label\n{SECRET},{SECRET}\n{SECRET},{SECRET}\n", ".csv", {}),
        (f"text,label\n{SECRET},{SECRET}\n", ".csv", {"label_names": ["x", "y"]}),
        (f'{{"text": "a", "{SECRET}": 1}}\n{{"text": "a", "{SECRET}": "b"}}\n', ".jsonl", {}),
        (f'{{"text": "{SECRET}\n', ".jsonl", {}),
        (
            "text,label\n" + "".join(f"{SECRET} {row},{'ab'[row % 2]}\n" for row in range(60)),
            ".csv",
            {"text_column": "label", "label_column": "text"},
        ),
    ],
)
def test_training_on_damaged_data_writes_no_text(
    home: Path,
    prefect_harness: None,
    tiny_base: Path,
    tmp_path: Path,
    written: Callable[..., list[str]],
    content: str,
    suffix: str,
    parameters: dict[str, Any],
) -> None:
    data = tmp_path / f"data{suffix}"
    data.write_text(content)
    with pytest.raises(DataError):
        train_tiny(tiny_base, data, **parameters)
    assert written(home) == []


@pytest.mark.usefixtures("new_database")
def test_training_writes_texts_nowhere_but_in_its_tables(
    home: Path,
    prefect_harness: None,
    tiny_base: Path,
    tmp_path: Path,
    written: Callable[..., list[str]],
) -> None:
    data = tmp_path / "data.csv"
    rows = [(f"{SECRET} {row}", ("good", "bad")[row % 2], SECRET) for row in range(120)]
    pd.DataFrame(rows, columns=["text", "label", SECRET]).to_csv(data, index=False)
    train_tiny(tiny_base, data, epochs=1)
    assert written(home) == []
    assert any(holds_secret(path) for path in home.glob("mlartifacts/**/*.parquet"))
