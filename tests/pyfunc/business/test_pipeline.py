"""A model decides by its look-ups and rules, row by row, wherever it is loaded."""

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.pyfunc import scoring_server

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.business.pipeline import BusinessPipeline
from pyfunc.business.spec import BusinessSpec, ColumnType, LookupSpec
from pyfunc.opening import open_pipeline
from pyfunc.spec import Variant
from tasks.building.packaging import signature_of
from tests.pyfunc.business.sources import CUSTOMERS, QUERY, SECRETS, Source
from tests.support.builders import build_artifact
from tests.support.references import TEXTS
from tests.support.static_models import write_random_static

RULES = """
import numpy as np
import pandas as pd


def before(rows):
    return np.where(rows["customer.tier"] == "banned", "banned", "") + rows["text"].str[:0]


def text(rows):
    return rows["text"].str.removeprefix("re: ")


def after(rows):
    gold = rows["customer.tier"] == "gold"
    return pd.DataFrame({"queue": np.where(gold, "VERSION", None), "weight": gold / (1 - gold)})


def deliver(rows):
    return rows["decision_queue"].notna()
"""
DECISIONS: dict[str, ColumnType] = {"queue": "string", "weight": "number"}

CUSTOMER = LookupSpec(
    name="customer",
    source="crm",
    key="customer_id",
    query=QUERY,
    key_type="integer",
    columns={"tier": "string"},
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_static(tmp_path_factory.mktemp("static") / "classifier", TEXTS)


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Source:
    source = Source("sqlite", f"sqlite:///{tmp_path_factory.mktemp('source')}/crm.db")
    source.execute(*CUSTOMERS, "insert into customer values (4, 'banned', 0, false)")
    return source


def built(
    folder: Path,
    classifier: Path,
    rules: str = RULES,
    *lookups: LookupSpec,
    decisions: Mapping[str, ColumnType] = DECISIONS,
) -> Path:
    artifact = build_artifact(folder, classifier, variants=(Variant("static", "f32"),))
    delivers = "def deliver" in rules
    file = "ticket_rules.py" if rules else ""
    spec = BusinessSpec(lookups or (CUSTOMER,), ("note",), file, decisions, delivers)
    spec.write(artifact, rules)
    return artifact


Open = Callable[..., BusinessPipeline]


@pytest.fixture
def opened(tmp_path: Path, classifier: Path, crm: Source) -> Open:
    """Builds a pipeline and opens it."""

    def open_it(rules: str = RULES, *lookups: LookupSpec, **settings: Any) -> BusinessPipeline:
        folder = tmp_path / f"artifact-{len(list(tmp_path.iterdir()))}"
        artifact = built(folder, classifier, textwrap.dedent(rules), *lookups, **settings)
        config = {"cache_dir": str(tmp_path / "cache"), "sources": {"crm": crm.url}}
        pipeline = open_pipeline(artifact, model_uri="models:/m-1", model_config=config)
        assert isinstance(pipeline, BusinessPipeline)
        return pipeline

    return open_it


def ask(
    pipeline: BusinessPipeline,
    texts: Sequence[object],
    keys: Sequence[object] | None = None,
    *,
    use_cache: bool = True,
) -> list[dict[str, Any]]:
    columns = None if keys is None else {"customer_id": keys}
    answers = pipeline.predict(
        texts, columns=columns, use_cache=use_cache, batch_tokens=DEFAULT_BATCH_TOKENS
    )
    for answer in answers:
        assert [secret for secret in SECRETS if secret in answer] == []
    return [json.loads(answer, parse_constant=pytest.fail) for answer in answers]


def test_each_row_is_decided_by_what_is_found_of_it(opened: Open) -> None:
    keys = [1, "2", None, 99, 4.0]
    documents = ask(opened(), ["a film"] * 5, keys)
    assert [one["decision"] for one in documents] == [
        {"queue": "VERSION", "weight": None},  # one divided by nothing, of which JSON has no number
        *[{"queue": None, "weight": 0.0}] * 3,
        None,
    ]
    assert documents[4]["error"] == {"step": "rules", "reason": "banned"}
    assert {one["model_metadata"]["rules_digest"] for one in documents} == {opened().logic.digest}
    assert all(one["metadata"]["looked_up_at"] for one in documents)


def test_a_text_alone_is_answered(opened: Open) -> None:
    (document,) = ask(opened(), ["a film"])
    assert document["response"]
    assert document["decision"] == {"queue": None, "weight": 0.0}
    assert ask(opened(), []) == []


def test_neither_look_ups_nor_rules_are_in_the_cache(opened: Open) -> None:
    first = ask(opened(), ["re: a film", "a film"], [1, 1])
    changed = opened(RULES.replace("VERSION", "other"))
    second = ask(changed, ["a film", "re: a film"], [1, 2])
    assert [one["metadata"]["cached"] for one in [*first, *second]] == [False, True, True, True]
    assert [one["decision"]["queue"] for one in [*first, *second]] == [
        "VERSION",
        "VERSION",
        "other",
        None,
    ]
    assert len({one["response"]["prediction_score"] for one in [*first, *second]}) == 1


def test_a_look_up_that_fails_refuses_its_rows_by_name(opened: Open) -> None:
    query = "select id, tier from nowhere where id in :keys"
    strict = LookupSpec("customer", "crm", "customer_id", query, "integer", {"tier": "string"})
    object.__setattr__(strict, "on_error", "reject")
    documents = ask(opened(RULES, strict), ["a film"] * 3, [1, 2, None])
    reason = (
        "customer: crm: the query failed (OperationalError SQLITE_ERROR): no such table: nowhere"
    )
    refusal = {"step": "lookup", "reason": reason}
    assert [one.get("error") for one in documents] == [refusal, refusal, None]
    assert documents[0]["response"] is documents[0]["decision"] is None


def test_a_row_at_fault_is_refused_alone_by_each_rule(opened: Open) -> None:
    rules = """
    import pandas as pd

    def _checked(rows, word):
        if (rows["text"] == word).any():
            raise LookupError(word)
        return rows["text"]

    def before(rows):
        return _checked(rows, "one").str[:0]

    def text(rows):
        return _checked(rows, "two")

    def after(rows):
        return pd.DataFrame({"queue": _checked(rows, "three")})

    def deliver(rows):
        return _checked(rows, "four") != "five"
    """
    texts = ["a film", "one", "two", "three", "four", "five"]
    documents = ask(opened(rules, decisions={"queue": "string"}), texts, [1] * 6)
    reasons = [one["error"]["reason"] for one in documents if one["response"] is None]
    lines = zip((10, 13, 16, 19), ("before", "text", "after", "deliver"), strict=True)
    assert [one["response"] is None for one in documents] == [False, *[True] * 4, False]
    for reason, (line, name) in zip(reasons, lines, strict=True):
        assert reason.startswith("ticket_rules.py:")
        assert reason.endswith(f": {name} raised LookupError")
        assert int(reason.split(":")[1]) < line


def test_a_row_that_a_later_rule_refuses_has_no_decision(opened: Open) -> None:
    rules = """
    import pandas as pd

    def after(rows):
        return pd.DataFrame({"queue": rows["text"]})

    def deliver(rows):
        return rows["text"].map({"yes": True, "no": False, "bad": "neither"})
    """
    answers = opened(rules, decisions={"queue": "string"}).answer(
        ["yes", "bad", "no"], use_cache=False, batch_tokens=DEFAULT_BATCH_TOKENS
    )
    assert [one.answer is None for one in answers.outcomes] == [False, True, False]
    found = answers.columns.select(["decision_queue", "decision_deliver"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [("yes", True), (None, None), ("no", False)]


def test_a_text_that_a_rule_makes_no_text_is_refused(opened: Open) -> None:
    rules = 'def text(rows):\n    return rows["note"]\n'
    documents = ask(opened(rules, decisions={}), ["a film"], [1])
    assert documents[0]["error"]["step"] == "validate"
    assert documents[0]["decision"] is None


def test_look_ups_run_beside_the_model_where_no_rule_before_it_needs_them(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = RULES[: RULES.index("def before")] + RULES[RULES.index("def after") :]
    pipeline = opened(rules)
    lookup, both = pipeline.logic._lookups["customer"], threading.Barrier(2, timeout=5)
    run, answer = lookup.run, pipeline.inner.answer

    def run_beside(keys: Sequence[object]) -> Any:
        both.wait()
        return run(keys)

    def answer_beside(*arguments: Any, **settings: Any) -> Any:
        both.wait()
        return answer(*arguments, **settings)

    monkeypatch.setattr(lookup, "run", run_beside)
    monkeypatch.setattr(pipeline.inner, "answer", answer_beside)
    assert ask(pipeline, ["a film"], [1])[0]["decision"]["queue"] == "VERSION"


def test_threads_share_a_pipeline(opened: Open) -> None:
    pipeline = opened()
    keys = [1, 2, None, 4, "x"] * 4

    def decisions(number: int) -> list[Any]:
        documents = ask(pipeline, [f"film {number % 3}"] * 20, keys)
        return [one["decision"] and one["decision"]["queue"] for one in documents]

    expected = ["VERSION", None, None, None, None] * 4
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(decisions, range(40))) == [expected] * 40


@settings(max_examples=12)
@given(keys=st.lists(st.sampled_from([1, 2.0, "3", " 4 ", None, "x", True, b"1"]), max_size=12))
def test_rows_of_a_call_are_decided_as_each_would_be_alone(
    one_pipeline: BusinessPipeline, keys: list[Any]
) -> None:
    together = ask(one_pipeline, ["a film"] * len(keys), keys)
    alone = [ask(one_pipeline, ["a film"], [key])[0] for key in keys]
    for one, other in zip(together, alone, strict=True):
        for document in (one, other):
            document["metadata"] = {"truncated": document["metadata"]["truncated"]}
        assert one == other


@pytest.fixture(scope="module")
def one_pipeline(
    tmp_path_factory: pytest.TempPathFactory, classifier: Path, crm: Source
) -> BusinessPipeline:
    folder = tmp_path_factory.mktemp("one")
    config = {"cache_dir": str(folder / "cache"), "sources": {"crm": crm.url}}
    artifact = built(folder / "artifact", classifier)
    pipeline = open_pipeline(artifact, model_uri="models:/m-1", model_config=config)
    assert isinstance(pipeline, BusinessPipeline)
    ask(pipeline, ["a film"])
    return pipeline


@pytest.mark.parametrize("sources", ["crm", ["crm"], 1])
def test_sources_that_are_no_mapping_are_a_setting_at_fault(opened: Open, sources: object) -> None:
    pipeline = opened()
    lookup = pipeline.logic._lookups["customer"]
    lookup._find_address.keywords["model_config"]["sources"] = sources  # type: ignore[attr-defined]
    (document,) = ask(pipeline, ["a film"], [1])
    assert document["decision"]["queue"] is None


def test_an_address_of_the_environment_may_come_after_the_model(
    opened: Open, crm: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = opened()
    lookup = pipeline.logic._lookups["customer"]
    lookup._find_address.keywords["model_config"]["sources"] = {}  # type: ignore[attr-defined]
    assert ask(pipeline, ["a film"], [1])[0]["decision"]["queue"] is None
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", crm.url)
    assert ask(pipeline, ["a film"], [1])[0]["decision"]["queue"] == "VERSION"


def test_nothing_of_an_artifact_has_the_address(tmp_path: Path, classifier: Path) -> None:
    artifact = built(tmp_path / "artifact", classifier)
    written = (artifact / "business" / "business.json").read_text()
    assert "sqlite" not in written
    assert json.loads(written)["lookups"][0]["source"] == "crm"


# As an MLflow model


def saved(folder: Path, classifier: Path, rules: str) -> Path:
    artifact = built(folder / "artifact", classifier, rules)
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=str(artifact / "pyfunc" / "model.py"),
        artifacts={"pipeline": str(artifact)},
        signature=signature_of(BusinessSpec.read(artifact)),
        input_example=pd.DataFrame({"text": ["a film"]}),
        model_config={"cache_dir": "", "cache_size_limit": "", "sources": {}},
        pip_requirements=[],
    )
    return folder / "model"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, classifier: Path) -> list[Path]:
    """Two versions with different rules."""
    folder = tmp_path_factory.mktemp("models")
    return [
        saved(folder / version, classifier, RULES.replace("VERSION", version))
        for version in ("first", "second")
    ]


LOADS_BOTH = """
import json, sys
import pandas as pd
import mlflow
cache, address, *paths = sys.argv[1:]
config = {"cache_dir": cache, "sources": {"crm": address}}
both = [mlflow.pyfunc.load_model(path, model_config=config) for path in paths]
rows = pd.DataFrame({"text": ["a film"] * 3, "customer_id": [1, "2", None]})
print(json.dumps([model.predict(rows)["text"].tolist() for model in both]))
print(json.dumps(both[0].predict({"text": "a film"})["text"].tolist()))
"""


@pytest.mark.slow
def test_two_versions_in_a_new_process_decide_by_their_own_rules(
    tmp_path: Path, models: list[Path], crm: Source
) -> None:
    command = [sys.executable, "-I", "-c", LOADS_BOTH, str(tmp_path / "cache"), crm.url]
    done = subprocess.run(
        [*command, *map(str, models)], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [secret for secret in SECRETS if secret in done.stdout + done.stderr] == []
    both, alone = map(json.loads, done.stdout.splitlines()[-2:])
    queues = [[json.loads(one)["decision"]["queue"] for one in rows] for rows in both]
    assert queues == [["first", None, None], ["second", None, None]]
    assert json.loads(alone[0])["decision"] == {"queue": None, "weight": 0.0}
    digests = {json.loads(rows[0])["model_metadata"]["rules_digest"] for rows in both}
    assert len(digests) == 2


@pytest.fixture(scope="module")
def client(models: list[Path], tmp_path_factory: pytest.TempPathFactory, crm: Source) -> TestClient:
    config = {"cache_dir": str(tmp_path_factory.mktemp("cache")), "sources": {"crm": crm.url}}
    model = mlflow.pyfunc.load_model(str(models[0]), model_config=config)
    return TestClient(scoring_server.init(model))


def served(client: TestClient, body: dict[str, Any]) -> list[Any]:
    answer = client.post("/invocations", json=body)
    assert answer.status_code == 200, answer.text
    documents = [json.loads(one["text"]) for one in answer.json()["predictions"]]
    return [one["decision"] and one["decision"]["queue"] for one in documents]


KEYS: list[Any] = [1, "1", " 1 ", 1.0, 2, None, "", True, "1'; drop table customer; --", 10**30]
QUEUES = ["first"] * 4 + [None] * 6


def test_served_keys_are_numbers_texts_or_missing(client: TestClient) -> None:
    rows = [{"text": "a film", "customer_id": key} for key in KEYS]
    assert served(client, {"dataframe_records": rows}) == QUEUES
    split = {"columns": ["text", "customer_id"], "data": [["a film", key] for key in KEYS]}
    assert served(client, {"dataframe_split": split}) == QUEUES
    assert served(client, {"instances": rows}) == QUEUES
    assert served(client, {"inputs": {"text": ["a film"] * 2, "customer_id": [1, 2]}}) == [
        "first",
        None,
    ]


@pytest.mark.parametrize("keys", [[1, 2], ["1", "2"], [1.0, None], ["1", None]])
def test_served_keys_of_one_type(client: TestClient, keys: list[Any]) -> None:
    rows = [{"text": "a film", "customer_id": key} for key in keys]
    assert served(client, {"dataframe_records": rows}) == ["first", None]


def test_a_served_row_without_a_key_is_answered(client: TestClient) -> None:
    assert served(client, {"dataframe_records": [{"text": "a film"}]}) == [None]
    rows = [{"text": "a film", "customer_id": 1}, {"text": "a film"}]
    assert served(client, {"dataframe_records": rows}) == ["first", None]
    assert served(client, {"inputs": {"text": ["a film"]}}) == [None]


def test_a_large_key_beside_a_missing_one_is_never_that_of_another(
    client: TestClient, crm: Source
) -> None:
    crm.execute(f"insert into customer values ({2**53}, 'gold', 0, false)")
    # As fractions, in which both are written alike.
    rows = [{"text": "a film", "customer_id": key} for key in (2**53 + 1, None)]
    assert served(client, {"dataframe_records": rows}) == [None, None]


def test_a_call_with_look_ups_takes_milliseconds(one_pipeline: BusinessPipeline) -> None:
    seconds = []
    for _ in range(30):
        started = time.perf_counter()
        ask(one_pipeline, ["a film"], [1])
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[15] < 0.05


def test_predict_of_a_frame_keeps_its_index(
    models: list[Path], crm: Source, tmp_path: Path
) -> None:
    config = {"cache_dir": str(tmp_path), "sources": {"crm": crm.url}}
    model = mlflow.pyfunc.load_model(str(models[1]), model_config=config)
    frame = pd.DataFrame({"text": ["a", "b"], "customer_id": [2, 1], "more": 1}, index=[7, 3])
    found = model.predict(frame)
    assert found.index.tolist() == [7, 3]
    assert [json.loads(one)["decision"]["queue"] for one in found["text"]] == [None, "second"]
