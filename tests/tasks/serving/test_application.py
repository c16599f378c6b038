"""The application with a real model: answers, refusals, limits, metrics, look-ups and splits."""

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import pytest
from starlette.testclient import TestClient

from tasks.serving.types import AskedRows
from tasks.serving.versions import ServedModel
from tasks.tracking.names import CHAMPION_URI
from tasks.tracking.pipeline_loader import load_pipeline, predict_documents
from tests.support.builders import Trained
from tests.support.served import classify, served
from tests.support.tiny_models import LABELS

TEXTS = ["a gem of a film", "two hours that I will never get back", "schlecht, sehr schlecht"]
SECRET = "a text that is nobody's business"


@pytest.fixture
def client(trained: Trained) -> Iterator[TestClient]:
    with served() as client:
        yield client


def without_cached(document: dict[str, Any]) -> dict[str, Any]:
    document["metadata"].pop("cached")
    if document["response"]:
        response = document["response"]
        response["prediction_score"] = pytest.approx(response["prediction_score"], abs=1e-5)
    return document


def test_classify_answers_as_predict_does(client: TestClient, trained: Trained) -> None:
    uri = trained.pipeline["inference_pipeline_model"]
    expected = predict_documents(load_pipeline(uri), TEXTS, use_cache=False, batch_tokens=1_024)
    found = classify(client, *TEXTS)
    assert [*map(without_cached, found)] == [*map(without_cached, expected)]
    assert [one["response"]["prediction_label"] in LABELS for one in found] == [True] * 3


def test_invocations_answers_in_the_protocol_of_mlflow(client: TestClient) -> None:
    rows = [*TEXTS, None, "  "]
    body = {"dataframe_split": {"columns": ["text"], "data": [[row] for row in rows]}}
    response = client.post("/invocations", json=body)
    assert response.status_code == 200
    found = [json.loads(row["text"]) for row in response.json()["predictions"]]
    assert [*map(without_cached, found[:3])] == [*map(without_cached, classify(client, *TEXTS))]
    assert [one["error"]["reason"] for one in found[3:]] == ["null", "empty"]


def test_each_answer_names_the_version(client: TestClient, trained: Trained) -> None:
    response = client.post("/classify", json={"texts": TEXTS})
    number = trained.pipeline["inference_pipeline_model"].rpartition("/")[2]
    assert response.headers["x-model-version"] == number
    uri = response.json()["answers"][0]["model_metadata"]["inference_pipeline_model_uri"]
    assert mlflow.models.get_model_info(uri).model_id == uri.removeprefix("models:/")


def test_options_of_a_request_are_those_of_predict(client: TestClient) -> None:
    (found,) = classify(client, "one that is new", all_scores=True)
    assert found["response"]["prediction_scores"].keys() == set(LABELS)
    assert not found["metadata"]["cached"]
    assert classify(client, "one that is new")[0]["metadata"]["cached"]
    assert not classify(client, "one that is new", use_cache=False)[0]["metadata"]["cached"]


def end_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request fail that is not answered from memory."""

    def fail(_: ServedModel, asked: AskedRows) -> None:
        raise AssertionError(f"{len(asked.texts)} texts went through the line")

    monkeypatch.setattr(ServedModel, "answer", fail)


def test_recent_answers_are_those_of_the_line(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS)]
    computed = classify(client, *texts)
    end_the_line(monkeypatch)
    assert client.post("/classify", json={"texts": texts, "use_cache": False}).status_code == 500
    recent = classify(client, *texts)
    assert [one["metadata"].pop("cached") for one in computed + recent] == [False] * 3 + [True] * 3
    assert recent == computed
    lines = client.get("/metrics").text.splitlines()
    assert next(line for line in lines if 'source="cached"' in line).endswith(" 3.0")


def test_a_long_request_has_its_answers_in_order(client: TestClient) -> None:
    texts = [f"{TEXTS[number % 3]} {number}" for number in range(300)]
    together = classify(client, *texts, use_cache=False)
    for number in (0, 63, 64, 150, 299):
        (alone,) = classify(client, texts[number], use_cache=False)
        assert without_cached(together[number]) == without_cached(alone)


def test_health_and_version_say_what_answers(client: TestClient, trained: Trained) -> None:
    assert client.get("/ping").status_code == 200
    assert client.get("/version").text == mlflow.__version__
    assert [client.head(path).status_code for path in ("/ping", "/health")] == [200, 200]
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["wanted"] == CHAMPION_URI
    assert health["versions"] == [trained.pipeline["inference_pipeline_model"]]


REFUSED: list[tuple[int, dict[str, Any], str]] = [
    (400, {"json": {"texts": [SECRET], "use_cash": True}}, "use_cash: unknown field"),
    (400, {"json": {"texts": [SECRET], "columns": {"id": [1]}}}, "columns: 'id' is unknown"),
    (400, {"json": {"texts": [SECRET] * 1_001}}, "1001 texts; expected at most 1000"),
    (
        400,
        {"json": {"texts": [SECRET]}, "headers": {"x-deadline-seconds": "soon"}},
        "x-deadline-seconds: expected a number from 0.05",
    ),
    (400, {"json": {"texts": [SECRET], "x" * 1_000: 1}}, "x" * 400),
    (
        400,
        {"json": {"texts": [SECRET]}, "params": {"use_cash": 1}},
        "use_cash: unknown parameter of the address; expected none",
    ),
    (413, {"json": {"texts": [SECRET * 300_000]}}, "expected at most 8388608 bytes"),
    (415, {"content": SECRET}, "Content-Type: expected application/json"),
]


@pytest.mark.parametrize(("status", "request_", "expected"), REFUSED)
def test_a_refusal_is_one_line_of_json_without_the_text(
    client: TestClient,
    caplog: pytest.LogCaptureFixture,
    status: int,
    request_: dict[str, Any],
    expected: str,
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = client.post("/classify", **request_)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert expected in response.json()["error"]
    assert response.text.count("\n") == 1
    assert len(response.text) < 600
    assert "nobody's business" not in response.text + caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/health/", 404),
        ("GET", "/classify", 405),
        ("POST", "/classify/", 404),
    ],
)
def test_other_paths_and_methods_are_refused_alike(
    client: TestClient, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.json().keys() == {"error"}


def test_a_body_without_a_length_is_cut_off_at_the_limit(trained: Trained) -> None:
    with served(max_mib=0.01) as client:
        chunks = iter([b'{"texts": ["', b"a" * 20_000, b'"]}'])
        headers = {"content-type": "application/json"}
        response = client.post("/classify", content=chunks, headers=headers)
        assert response.status_code == 413
        assert response.json() == {"error": "body: more; expected at most 10485 bytes"}


def test_bodies_that_wait_are_bounded_together(trained: Trained) -> None:
    texts = [f"{TEXTS[0]} {number} {'very ' * 300}" for number in range(6)]
    body = {"texts": texts, "use_cache": False}
    with served(max_mib=0.01) as client, ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda _: client.post("/classify", json=body), range(64)))
        refused = [response for response in found if response.status_code == 503]
        assert len(refused) < len(found)
        for response in refused:
            assert response.headers["retry-after"] == "1"
            assert response.json()["error"].endswith("are held; expected at most 167760")
        assert refused
        assert classify(client, TEXTS[0])  # nothing is held any more


def test_a_client_that_leaves_before_its_body_ends_is_no_error(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"type": "http.request", "body": b'{"texts": ["', "more_body": True}
    received = iter([body, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/classify", "query_string": b""}
    with caplog.at_level(logging.INFO):
        asyncio.run(client.app(scope | {"headers": headers}, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 499
    assert "POST /classify 499" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_error_of_the_server_is_one_line_of_json_without_the_text(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr("tasks.serving.server.parse_body", fail)
    response = client.post("/classify", json={"texts": TEXTS})
    assert response.status_code == 500
    assert response.json() == {
        "error": "an error of the server (ZeroDivisionError); the log has the traceback"
    }


def test_a_token_is_asked_for_where_there_is_one(trained: Trained) -> None:
    with served(token="s3cret") as client:
        body = {"texts": TEXTS}
        for given in ("", "Bearer wrong", "Basic s3cret", "s3cret"):
            response = client.post("/classify", json=body, headers={"authorization": given})
            assert response.status_code == 401
            assert response.json() == {"error": "Authorization: expected Bearer and the token"}
        headers = {"authorization": "Bearer s3cret"}
        assert client.post("/classify", json=body, headers=headers).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/ping").status_code == 200


def test_metrics_count_requests_answers_and_batches(client: TestClient, trained: Trained) -> None:
    number = trained.pipeline["inference_pipeline_model"].rpartition("/")[2]
    for _ in range(2):
        classify(client, "counted once", "counted once", "counted too", "")
    client.post("/classify", json={})
    found = dict(
        line.rsplit(" ", 1)
        for line in client.get("/metrics").text.splitlines()
        if not line.startswith("#")
    )
    assert float(found['millstream_requests_total{path="/classify",status="200"}']) == 2
    assert float(found['millstream_requests_total{path="/classify",status="400"}']) == 1

    def texts(source: str) -> float:
        return float(found[f'millstream_texts_total{{source="{source}",version="{number}"}}'])

    assert (texts("computed"), texts("repeated"), texts("cached")) == (2, 1, 3)
    assert texts("refused") == 2
    labels = [value for name, value in found.items() if name.startswith("millstream_labels_total")]
    assert sum(map(float, labels)) == 6
    assert float(found["millstream_batch_texts_sum"]) >= 2
    assert float(found["millstream_line_texts"]) == 0
    assert float(found[f'millstream_serving{{version="{number}"}}']) == 1
    assert "counted" not in client.get("/metrics").text


def test_the_schema_describes_both_paths_with_examples_that_are_answered(
    client: TestClient,
) -> None:
    schema = client.get("/openapi.json").json()
    for path in ("/classify", "/invocations"):
        operation = schema["paths"][path]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        body = schema["components"]["schemas"][reference.rpartition("/")[2]]
        for example in body["examples"]:
            assert client.post(path, json=example).status_code == 200
        assert operation["responses"].keys() >= {"200", "400", "413", "415", "503", "504"}
    assert client.get("/docs").status_code == 200


def test_a_split_answers_the_share_of_the_keys(
    two_versions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{TEXTS[0]} {number}" for number in range(200)]
    with served(split="challenger=0.3", split_key="customer") as client:
        body = {"texts": texts, "columns": {"customer": [number % 50 for number in range(200)]}}
        response = client.post("/classify", json=body)
        uris = [
            one["model_metadata"]["inference_pipeline_model_uri"]
            for one in response.json()["answers"]
        ]
        assert len(set(uris)) == 2
        assert uris[:50] * 4 == uris
        assert response.headers["x-model-version"] == "1, 2"
        end_the_line(monkeypatch)
        recent = classify(client, *texts[:50], columns={"customer": [*range(50)]})
        assert [one["model_metadata"] for one in recent] == [
            one["model_metadata"] for one in response.json()["answers"][:50]
        ]
        missing = client.post("/classify", json={"texts": texts})
        assert missing.json() == {
            "error": "columns: 'customer' is missing; expected besides the text: customer"
        }


def test_a_request_that_is_not_answered_in_time_is_given_up(trained: Trained) -> None:
    with served() as client:
        body = {"texts": [f"{TEXTS[0]} {number}" for number in range(1_000)], "use_cache": False}
        headers = {"x-deadline-seconds": "0.05"}
        response = client.post("/classify", json=body, headers=headers)
        assert response.status_code == 504
        assert response.json() == {
            "error": "not answered within 0.05 s; expected a shorter line or fewer texts"
        }
        assert classify(client, TEXTS[0])  # behind what was dropped
        assert client.get("/health").json()["line_texts"] == 0


def test_a_request_that_would_wait_too_long_is_refused_at_once(trained: Trained) -> None:
    texts = [f"{TEXTS[0]} {number}" for number in range(1_000)]
    with served(deadline_seconds=0.3) as client, ThreadPoolExecutor(16) as threads:
        bodies = [{"texts": texts, "use_cache": False}] * 48
        found = list(threads.map(lambda body: client.post("/classify", json=body), bodies))
        refused = [response for response in found if response.status_code == 503]
        assert {response.status_code for response in found} <= {200, 503, 504}
        assert refused
        for response in refused:
            assert int(response.headers["retry-after"]) >= 1
            assert "texts are in the line" in response.json()["error"]
