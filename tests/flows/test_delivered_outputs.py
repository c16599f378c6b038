"""Output folders that are delivered, beside others, by composed versions, moved and cleaned up."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from flows.clean_up import clean_up
from flows.explain_prediction import explain_prediction
from flows.prune_cache import prune_cache
from flows.relocate import relocate
from flows.score_shards import score_shards
from tasks.tracking.mlflow_client import connect
from tests.support.builders import COMPOSITION, Trained, use_home
from tests.support.business import (
    LOOKUPS,
    RULES,
    build_with_rules,
    write_composition,
    write_customers,
)

TEXTS = [f"a great film, number {number}" for number in range(6)]
TABLE = "crm.predictions"

_DECIDER = 'rows["prediction_decided_by"]'

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Query:
    path = write_customers(tmp_path / "crm.db")
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", f"sqlite:///{path}")

    def run(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(statement).fetchall()

    return run


def write_rows(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    rows = pd.DataFrame({"text": TEXTS, "customer_id": range(1, len(TEXTS) + 1)})
    rows.to_csv(path, index=False)
    return str(path)


def test_two_output_folders_share_a_table_and_each_row_is_there_once(
    trained: Trained, tmp_path: Path, query: Query
) -> None:
    first, second = (write_rows(tmp_path / "in" / name) for name in ("a.csv", "b.csv"))
    score_shards([first], str(tmp_path / "one"), shard_rows=2, deliver_to=TABLE)
    score_shards([second], str(tmp_path / "two"), shard_rows=4, deliver_to=TABLE)
    assert query("select count(*), count(distinct shard) from predictions") == [(12, 5)]
    # The other folder cuts the same file otherwise: the last one to deliver it counts.
    score_shards([first, second], str(tmp_path / "two"), shard_rows=4, deliver_to=TABLE)
    assert query("select count(*), count(distinct shard) from predictions") == [(12, 4)]
    again = score_shards([first], str(tmp_path / "one"), shard_rows=2, deliver_to=TABLE)
    assert again["shards_skipped"] == 3
    assert query("select count(*), count(distinct shard) from predictions") == [(12, 5)]


def test_a_composed_version_looks_up_decides_and_delivers(
    trained_anew: Trained, tmp_path: Path, query: Query
) -> None:
    finetuned = trained_anew.training["finetuned_model"]
    composition = write_composition(tmp_path, finetuned)
    member = {"model": finetuned, "engine": "torch", "precision": "f32"}
    lengths = {"kind": 8, "quick": 4, "film": 32}
    members = {name: {**member, "max_tokens": tokens} for name, tokens in lengths.items()}
    rules = RULES.replace('urgent.map({True: "urgent", False: None})', _DECIDER)
    composition.with_name("ticket_rules.py").write_text(rules)
    composition.write_text(yaml.safe_dump({"members": members, "answer": COMPOSITION}) + LOOKUPS)
    version = build_with_rules(composition)
    output = tmp_path / "out"
    inputs = [write_rows(tmp_path / "in" / "a.csv")]
    summary = score_shards(inputs, str(output), model_uri=version, deliver_to=TABLE)
    assert (summary["scored"], summary["rejected"]) == (5, 1)  # one opted out
    assert summary["delivered"][TABLE]["rows"] == 5
    (decided, *_), *_ = rows = query(
        "select prediction_decided_by, decision_queue, lookup_customer_tier from predictions"
    )
    assert decided
    assert all(row[0] == row[1] for row in rows)
    assert [row[2] for row in rows] == ["gold", "basic", None, None, None]
    (shard,) = (path.stem for path in (output / "records").glob("*.json"))
    chain = explain_prediction(str(output), shard, 1, verify=True)
    assert chain["decision_verified"] == "same decisions, from what was looked up then"
    assert {member["name"] for member in chain["members"]} <= set(lengths)


def test_deliveries_outlive_a_move_a_pruned_cache_and_a_clean_up(
    trained_anew: Trained, tmp_path: Path, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = trained_anew.home
    write_rows(home / "inbox" / "a.csv")

    def score(folder: Path) -> dict[str, Any]:
        output = folder / "scored" / "inbox"
        found: dict[str, Any] = score_shards([str(folder / "inbox")], str(output), deliver_to=TABLE)
        return found

    score(home)
    clean_up(apply=True, kinds=["outputs"], older_than_days=0)
    assert not [*home.glob("scored/inbox/records/*")]
    assert query("select count(*) from predictions") == [(6,)]
    score(home)
    assert query("select count(*) from millstream_deliveries") == [(1,)]
    delivered = query("select * from predictions")
    assert len(delivered) == 6
    moved = Path(shutil.move(home, tmp_path / "moved"))
    use_home(moved, monkeypatch)
    relocate()
    connect()
    prune_cache()
    summary = score(moved)
    assert (summary["shards_skipped"], summary["delivered"][TABLE]["shards_skipped"]) == (1, 1)
    assert query("select * from predictions") == delivered
