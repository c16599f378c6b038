"""Look-ups and rules around the model: scored, decided anew, explained."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest

from flows.build_inference_pipeline import build_inference_pipeline
from flows.explain_prediction import explain_prediction
from flows.score_shards import score_shards
from tasks.common.errors import DeliveryError, ModelError, ShardsFailedError
from tasks.common.settings import get_settings
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import Trained, use_home
from tests.support.built_once import BuiltHome
from tests.support.business import RULES, build_with_rules, write_composition, write_customers

ROWS = (
    ("an awful film", "1"),
    ("a great film", "2"),
    ("an awful film", "3"),
    ("an awful thing", "99"),
    ("an awful film", ""),
    ("", "1"),
)

OTHER_RULES = """
import pandas as pd


def after(rows):
    return pd.DataFrame({"by": "other"}, rows.index)
"""


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_customers(tmp_path / "crm.db")
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", f"sqlite:///{path}")
    return path


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "tickets.csv"
    path.parent.mkdir()
    pd.DataFrame(ROWS, columns=["text", "customer_id"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def home_with_rules(
    _trained_original: BuiltHome, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """A state folder of this module, whose tests build and promote in it."""
    home = tmp_path_factory.mktemp("rules") / "var"
    return Trained(home, **_trained_original.copied(home))


@pytest.fixture
def trained(home_with_rules: Trained, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    use_home(home_with_rules.home, monkeypatch)
    connect()
    yield home_with_rules
    get_settings.cache_clear()


@pytest.fixture
def version(trained: Trained, tmp_path: Path, crm: Path) -> str:
    """The version with `RULES`, which the first test that asks for it builds."""
    return build_with_rules(write_composition(tmp_path, trained.training["finetuned_model"]))


def predictions(output: Path) -> pd.DataFrame:
    (path,) = (output / "predictions").glob("*.parquet")
    table: pd.DataFrame = pq.read_table(path).to_pandas().set_index("row")
    return table


def test_rows_are_looked_up_refused_scored_and_decided(
    version: str, tickets: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    summary = score_shards([str(tickets)], str(output), model_uri=version)
    assert (summary["scored"], summary["rejected"]) == (4, 2)
    assert summary["rejected_because"] == {"rules: opted out": 1, "validate: empty": 1}
    found = predictions(output)
    assert list(found.columns[-6:]) == [
        "lookup_customer_tier",
        "lookup_customer_opted_out",
        "decision_queue",
        "decision_priority",
        "decision_deliver",
        "looked_up_at",
    ]
    tiers = found["lookup_customer_tier"].fillna("none").to_dict()
    assert tiers == {1: "gold", 2: "basic", 4: "none", 5: "none"}
    assert found["decision_deliver"].to_dict() == {1: True, 2: False, 4: False, 5: False}
    assert found["looked_up_at"].notna().all()
    record = json.loads(next((output / "records").glob("*.json")).read_text())
    registered = connect().get_model_version(PIPELINE_MODEL, version.rpartition("/")[2])
    assert record["rules_digest"] == registered.tags["rules_digest"] != ""
    assert record["counts"]["to_deliver"] == 1


def test_a_changed_rule_decides_anew_without_the_model(
    version: str, tickets: Path, tmp_path: Path, trained: Trained
) -> None:
    output = tmp_path / "out"
    score_shards([str(tickets)], str(output), model_uri=version)
    again = score_shards([str(tickets)], str(output), model_uri=version)
    assert again["shards_skipped"] == 1
    rules = RULES.replace('"urgent"', '"first"')
    changed = build_with_rules(
        write_composition(tmp_path, trained.training["finetuned_model"], rules=rules)
    )
    decided = score_shards([str(tickets)], str(output), model_uri=changed)
    assert decided["scored_because"] == {"the rules changed": 1}
    assert decided["model_calls"] == 0
    assert predictions(output)["decision_queue"][1] == "first"


def test_a_row_is_explained_and_decided_again(
    version: str, tickets: Path, tmp_path: Path, crm: Path
) -> None:
    output = tmp_path / "out"
    score_shards([str(tickets)], str(output), model_uri=version)
    write_customers(crm, [(1, "basic", True)])  # what was looked up then counts
    (shard,) = (path.stem for path in (output / "records").glob("*.json"))
    chain = explain_prediction(str(output), shard, 1, verify=True)
    assert chain["customer_id"] == 1
    assert (chain["lookup_customer_tier"], chain["decision_queue"]) == ("gold", "urgent")
    assert chain["decision_verified"] == "same decisions, from what was looked up then"
    rejected = explain_prediction(str(output), shard, 3)
    assert (rejected["reason"], rejected["customer_id"]) == ("opted out", 3)


@pytest.mark.usefixtures("version")
def test_a_decision_that_was_altered_is_found(version: str, tickets: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    score_shards([str(tickets)], str(output), model_uri=version)
    (path,) = (output / "predictions").glob("*.parquet")
    table = pq.read_table(path)
    altered = table["decision_priority"].to_pylist()
    altered[0] = 7
    place = table.column_names.index("decision_priority")
    table = table.set_column(place, "decision_priority", [altered])
    pq.write_table(table, path)
    with pytest.raises(ModelError, match=r"decision_priority is 1 now; expected 7"):
        explain_prediction(str(output), path.stem, 1, verify=True)


def test_predictions_are_delivered_once_and_follow_a_changed_rule(
    version: str, tickets: Path, tmp_path: Path, crm: Path, trained: Trained
) -> None:
    output = tmp_path / "out"

    def delivered() -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(crm)) as connection:
            query = "select row, decision_queue from predictions order by row"
            return connection.execute(query).fetchall()

    scoring = partial(
        score_shards,
        [str(tickets)],
        str(output),
        deliver_to="crm.predictions",
        deliver_rejects_to="crm.rejects",
    )
    summary = scoring(model_uri=version)
    assert delivered() == [(1, "urgent")]
    assert summary["delivered"]["crm.predictions"] == {
        "rows": 1,
        "shards": 1,
        "shards_skipped": 0,
        "shards_failed": 0,
        "values_replaced": 0,
        "failures": {},
    }
    assert summary["delivered"]["crm.rejects"]["rows"] == 2
    again = scoring(model_uri=version)
    assert again["delivered"]["crm.predictions"]["shards_skipped"] == 1
    rules = RULES.replace('"urgent"', '"first"')
    finetuned = trained.training["finetuned_model"]
    changed = build_with_rules(write_composition(tmp_path, finetuned, rules=rules))
    scoring(model_uri=changed)
    assert delivered() == [(1, "first")]


def test_what_cannot_be_delivered_is_published_and_delivered_by_the_next_run(
    version: str,
    tickets: Path,
    tmp_path: Path,
    crm: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    with closing(sqlite3.connect(crm)) as connection:
        connection.execute("create table predictions (shard text, row text)")
    scoring = partial(score_shards, [str(tickets)], str(output), model_uri=version)
    expected = r"^crm\.predictions: 1 of 1 shards were not delivered; the first, \S+: the "
    with pytest.raises(DeliveryError, match=expected):
        scoring(deliver_to="crm.predictions")
    shown = capsys.readouterr().out
    assert "shards_failed: 1, first_failure: " in shown
    assert "values_replaced" not in shown
    assert len(predictions(output)) == 4
    with closing(sqlite3.connect(crm)) as connection:
        connection.execute("drop table predictions")
    found = scoring(deliver_to="crm.predictions")
    assert found["shards_skipped"] == 1
    assert found["delivered"]["crm.predictions"]["rows"] == 1


def test_the_report_and_the_version_describe_look_ups_and_rules(
    trained: Trained, tmp_path: Path, crm: Path
) -> None:
    composition = write_composition(tmp_path, trained.training["finetuned_model"])
    report = build_inference_pipeline(composition=str(composition))
    assert report["lookups"] == {"customer": "crm"}
    assert (report["rules"], report["decisions"]) == ("ticket_rules.py", ["queue", "priority"])
    number = report["inference_pipeline_model"].rpartition("/")[2]
    version = connect().get_model_version(PIPELINE_MODEL, number)
    assert version.tags["rules_digest"] == report["rules_digest"]
    description = str(version.description)
    assert "| customer | crm | customer_id | tier, opted_out |" in description
    assert str(crm) not in description


def test_rows_whose_look_up_failed_are_looked_up_again_by_the_next_run(
    version: str, tickets: Path, tmp_path: Path, crm: Path
) -> None:
    output, away = tmp_path / "out", tmp_path / "away.db"
    scoring = partial(score_shards, [str(tickets)], str(output), model_uri=version)
    crm.rename(away)
    summary = scoring()
    assert summary["rows_with_failed_lookups"] == 5  # a row without a key has none
    assert predictions(output)["lookup_customer_tier"].isna().all()
    away.rename(crm)
    again = scoring()
    assert again["scored_because"] == {"look-ups failed": 1}
    assert again["model_calls"] == 0
    assert "rows_with_failed_lookups" not in again
    assert predictions(output)["lookup_customer_tier"][1] == "gold"


def test_two_versions_with_other_rules_share_rows_and_each_decides_its_own(
    version: str, tickets: Path, tmp_path: Path, trained: Trained
) -> None:
    output, finetuned = tmp_path / "out", trained.training["finetuned_model"]
    other = build_with_rules(
        write_composition(
            tmp_path, finetuned, lookups="rules: ticket_rules.py\n", rules=OTHER_RULES
        )
    )
    summary = score_shards(
        [str(tickets)],
        str(output),
        model_uri=version,
        split=f"{other.rpartition('/')[2]}=0.5",
        split_key="customer_id",
        deliver_to="crm.split",
    )
    found = predictions(output)
    by_other = found["decision_by"].eq("other")
    assert 0 < by_other.sum() < len(found)
    assert found.loc[by_other, ["decision_priority", "lookup_customer_tier"]].isna().all(axis=None)
    assert found.loc[~by_other, "decision_priority"].notna().all()
    assert found.loc[by_other, "decision_deliver"].all()  # it has no rule for it
    assert summary["delivered"]["crm.split"]["rows"] == found["decision_deliver"].sum()
    record = json.loads(next((output / "records").glob("*.json")).read_text())
    digests = {arm["rules_digest"] for arm in record["arms"].values()}
    assert len(digests) == 2


def test_a_file_without_the_key_fails_alone_and_by_name(
    version: str, tickets: Path, tmp_path: Path
) -> None:
    other = tickets.with_name("other.csv")
    other.write_text("text\nan awful film\n")
    summary = score_shards(
        [str(tickets.parent)], str(tmp_path / "out"), model_uri=version, max_failed_shards=1
    )
    (error,) = summary["failures"].values()
    assert error == (
        f"{other}: no column 'customer_id' among its 1, which {version} reads; expected a column "
        "of that name"
    )
    assert summary["scored"] == 4


def test_files_whose_columns_disagree_are_named_beside_one_that_cannot_be_read(
    version: str, tickets: Path, tmp_path: Path, crm: Path
) -> None:
    other = tickets.with_name("words.csv")
    other.write_text("text,customer_id\nan awful film,one\n")
    tickets.with_name("broken.csv").write_text("text\nan awful film\n")
    with pytest.raises(ShardsFailedError) as caught:
        score_shards(
            [str(tickets.parent)],
            str(tmp_path / "out"),
            model_uri=version,
            deliver_to="crm.predictions",
        )
    message = str(caught.value)
    assert message.startswith("1 of 3 shards failed; the first, broken-")
    assert "; crm.predictions: 2 of 2 shards were not delivered; the first, tickets-" in message
    assert (
        f"-00001: the column 'customer_id' is integer in {tickets} and text in {other}; expected "
        "one type in all files; mend that, "
    ) in message


def test_a_file_without_what_a_challenger_needs_names_the_challenger(
    version: str, tickets: Path, tmp_path: Path, trained: Trained
) -> None:
    tickets.write_text("text\nan awful film\n")
    summary = score_shards(
        [str(tickets)],
        str(tmp_path / "out"),
        model_uri=trained.pipeline["inference_pipeline_model"],
        split=f"{version.rpartition('/')[2]}=0.5",
        max_failed_shards=1,
    )
    (error,) = summary["failures"].values()
    assert f"no column 'customer_id' among its 1, which {version} reads; expected" in error


def test_a_key_is_found_by_its_exact_name_as_in_a_served_model(
    version: str, tickets: Path, tmp_path: Path
) -> None:
    tickets.write_text("Text,Customer_ID\nan awful film,1\n")
    scoring = partial(score_shards, [str(tickets)], str(tmp_path / "out"), model_uri=version)
    (error,) = scoring(max_failed_shards=1)["failures"].values()
    assert error == (
        f"{tickets}: the column 'Customer_ID' is not 'customer_id', which {version} reads; "
        "expected a column of that name"
    )
    model: Any = mlflow.pyfunc.load_model(version)
    (served,) = model.predict(pd.read_csv(tickets).rename(columns={"Text": "text"}))["text"]
    assert json.loads(served)["decision"] == {"queue": None, "priority": 0}  # no key, no customer
    tickets.write_text("Text,customer_id\nan awful film,1\n")
    assert scoring()["scored"] == 1
