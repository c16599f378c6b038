"""Look-ups and rules of a version work online, and what they added is recorded."""

from pathlib import Path

import pandas as pd
import pytest

from tests.support.builders import Trained
from tests.support.business import build_with_rules, write_composition, write_customers
from tests.support.served import served

TEXTS = ["a gem of a film", "a gem of a film", "two hours that I will never get back", ""]


@pytest.fixture
def uri(trained_anew: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    crm = write_customers(tmp_path / "crm.db")
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", f"sqlite:///{crm}")
    return build_with_rules(write_composition(tmp_path, trained_anew.training["finetuned_model"]))


def test_keys_are_looked_up_and_rules_decide(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "online"
    customers = [1, 3, None, 2]
    body = {"texts": TEXTS, "columns": {"customer_id": customers}}
    with served(model_uri=uri, record=str(folder)) as client:
        response = client.post("/classify", json=body)
        found = response.json()["answers"]
        frame = {"text": TEXTS, "customer_id": customers}
        again = client.post("/invocations", json={"inputs": frame})
        refused = client.post("/classify", json={"texts": TEXTS})
        # Each key decides, whatever was answered to the text before.
        one, other = (
            client.post("/classify", json={"texts": TEXTS[:1], "columns": {"customer_id": [key]}})
            for key in (1, 3)
        )
    assert found[0]["decision"].keys() == {"queue", "priority"}
    assert found[0]["metadata"]["looked_up_at"]
    assert found[1]["error"] == {"step": "rules", "reason": "opted out"}
    assert found[2]["decision"]["queue"] is None
    assert found[3]["error"]["reason"] == "empty"
    assert again.status_code == 200
    assert one.json()["answers"][0]["decision"] == found[0]["decision"]
    assert other.json()["answers"][0]["error"] == found[1]["error"]
    assert refused.status_code == 400
    assert refused.json()["error"] == (
        "columns: 'customer_id' is missing; expected besides the text: customer_id"
    )
    recorded = pd.concat(map(pd.read_parquet, (folder / "predictions").glob("*.parquet")))
    assert recorded["lookup_customer_tier"].dropna().unique().tolist() == ["gold"]
    assert set(recorded["customer_id"].dropna()) == {1}
