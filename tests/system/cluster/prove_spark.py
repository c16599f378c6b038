"""The registered pipeline as a function of Spark: `make spark-test`.

Runs what docs/spark.md shows, with `local[2]` and with a master and a worker on loopback.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from tasks.common.settings import REPOSITORY, get_settings
from tests.support.builders import Trained
from tests.support.business import build_with_rules, write_composition, write_customers
from tests.support.operation import free_ports
from tests.support.references import close
from tests.support.scoring_command import wait_until

# `make cluster-test` leaves this file out where PySpark is not installed.
pyspark = pytest.importorskip("pyspark", reason="make spark-test installs it")

from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import from_json, struct

PAGE = (REPOSITORY / "docs" / "spark.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```py\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
(SCHEMA,) = re.findall(r'^ANSWER = """\n(.*?)"""$', EXAMPLE, flags=re.MULTILINE | re.DOTALL)

TEXTS = [
    "a great film",
    None,
    "an awful film",
    "",
    "很好看的电影",
    "\u200b",
    "so " * 99,
    "great film",
]
REFUSED = {1: "null", 3: "empty", 5: "empty"}
SCORE_TOLERANCE = 1e-4  # other batches, other rounding

PROGRAMS = Path(pyspark.__file__).parent / "bin"
LOOPBACK = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}

# PySpark about pandas 3; that it says so is a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support:FutureWarning")


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    folder = tmp_path_factory.mktemp("spark")
    builder = SparkSession.Builder().master("local[2]")
    settings = LOOPBACK | {
        "spark.executorEnv.MILLSTREAM_HOME": str(folder / "executors"),
        "spark.executorEnv.MILLSTREAM_SOURCE_CRM": f"sqlite:///{folder / 'crm.db'}",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.config(map=settings).getOrCreate()
        yield session
        session.stop()


def rows_of(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(list(enumerate(TEXTS)), "id long, text string").repartition(2)


def answered(rows: DataFrame, function: Any, *columns: Any) -> dict[int, Any]:
    """Return the answer to each row by its number."""
    found = rows.select("id", function(*columns).alias("answer")).collect()
    return {row["id"]: row["answer"] for row in found}


def predicted(uri: str) -> list[dict[str, Any]]:
    """Return the documents of the model as it answers without Spark."""
    model = mlflow.pyfunc.load_model(uri)
    answers = model.predict(pd.DataFrame({"text": TEXTS}), params={"use_cache": False})
    return [json.loads(answer) for answer in answers["text"]]


def check_answers(answers: dict[int, dict[str, Any]], uri: str) -> None:
    """Check each answer but for `cached`, since Spark may ask for a row twice."""
    expected = predicted(uri)
    assert answers.keys() == set(range(len(TEXTS)))
    for row, document in enumerate(expected):
        answer = answers[row]
        assert (answer["error"] or {}).get("reason") == REFUSED.get(row)
        assert answer["error"] == document.get("error")
        assert answer["model_metadata"] == document["model_metadata"]
        for part in (answer["metadata"], document["metadata"]):
            part["cached"] = None
        assert answer["metadata"] == document["metadata"]
        if row in REFUSED:
            assert answer["response"] is None
            continue
        for key, value in document["response"].items():
            same = value if isinstance(value, str) else close([value], SCORE_TOLERANCE)[0]
            assert answer["response"][key] == same


@contextmanager
def started(program: str, *arguments: str, log: Path, says: str) -> Iterator[None]:
    """Run a part of a Spark cluster until the end of the block."""
    command = [str(PROGRAMS / "spark-class"), f"org.apache.spark.deploy.{program}", *arguments]
    variables = os.environ | {"SPARK_NO_DAEMONIZE": "1", "PYSPARK_PYTHON": sys.executable}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables)
    try:
        wait_until(lambda: says in log.read_text(), f"{says!r} in {log.name}")
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["local", "cluster"])
def master(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a Spark, in one process or with executors in others."""
    with ExitStack() as stack:
        if request.param == "local":
            yield "local[2]"
            return
        port, *interfaces = map(str, free_ports(3))
        address, here = f"spark://127.0.0.1:{port}", ("--host", "127.0.0.1", "--webui-port")
        start = partial(lambda *args, **options: stack.enter_context(started(*args, **options)))
        log = tmp_path / "master.log"
        start("master.Master", *here, interfaces[0], "--port", port, log=log, says="ALIVE")
        work = ("--cores", "2", "--work-dir", str(tmp_path / "work"), address)
        log, registered = tmp_path / "worker.log", "Successfully registered"
        start("worker.Worker", *here, interfaces[1], *work, log=log, says=registered)
        yield address


def test_the_example_of_the_page_answers_each_row_as_the_model_does(
    trained: Trained, master: str, tmp_path: Path
) -> None:
    home, script = tmp_path / "executors", tmp_path / "score.py"
    script.write_text(
        EXAMPLE.replace("http://mlflow.example.org:5000", get_settings().tracking_uri)
    )
    rows = pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})
    rows.to_parquet(tmp_path / "texts")
    settings = LOOPBACK | {
        "spark.executorEnv.MILLSTREAM_HOME": str(home),
        "spark.executor.cores": "2",
        "spark.task.cpus": "2",
    }
    options = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    done = subprocess.run(
        [str(PROGRAMS / "spark-submit"), "--master", master, *options, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    written = pd.read_parquet(tmp_path / "answers").set_index("id")
    assert list(written["prediction_label"].isna()) == [row in REFUSED for row in written.index]
    answers = dict(zip(written.index, written["answer"], strict=True))
    check_answers(answers, trained.pipeline["inference_pipeline_model"])
    assert (home / "prediction-cache" / "cache.db").stat().st_size > 0


@pytest.mark.parametrize("result_type", [None, "string", "array<string>"])
def test_a_result_is_the_json_of_the_answer(
    trained: Trained, spark: SparkSession, result_type: str | None
) -> None:
    uri = trained.pipeline["inference_pipeline_model"]
    classify = mlflow.pyfunc.spark_udf(spark, uri, result_type=result_type)
    answers = answered(rows_of(spark), classify)
    if result_type == "array<string>":
        assert {len(answer) for answer in answers.values()} == {1}
        answers = {row: answer[0] for row, answer in answers.items()}
    blank = {"error": None}
    check_answers({row: blank | json.loads(answers[row]) for row in answers}, uri)


@pytest.mark.parametrize("result_type", [SCHEMA, "double", "map<string, string>"])
def test_another_result_fails(trained: Trained, spark: SparkSession, result_type: str) -> None:
    uri = trained.pipeline["inference_pipeline_model"]
    with pytest.raises((PythonException, mlflow.MlflowException)):
        answered(rows_of(spark), mlflow.pyfunc.spark_udf(spark, uri, result_type=result_type))


def test_parameters_reach_the_model(trained: Trained, spark: SparkSession) -> None:
    uri = trained.pipeline["inference_pipeline_model"]
    classify = mlflow.pyfunc.spark_udf(
        spark, uri, result_type="string", params={"all_scores": True, "use_cache": False}
    )
    field = "prediction_score: double, prediction_scores: map<string, double>"
    schema = SCHEMA.replace("prediction_score: double", field)
    rows = rows_of(spark).withColumn("answer", from_json(classify("text"), schema))
    (first,) = rows.where("id = 0").select("answer.response.*", "answer.metadata.cached").collect()
    assert first["prediction_scores"][first["prediction_label"]] == first["prediction_score"]
    assert not first["cached"]


def test_columns_of_look_ups_and_rules_are_a_struct(
    trained_anew: Trained, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = spark.conf.get("spark.executorEnv.MILLSTREAM_SOURCE_CRM")
    assert address is not None
    write_customers(Path(address.removeprefix("sqlite:///")))
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", address)
    uri = build_with_rules(write_composition(tmp_path, trained_anew.training["finetuned_model"]))
    texts = [(1, "an awful film"), (2, "an awful film"), (3, "a great film"), (None, None)]
    table = [(number, *row) for number, row in enumerate(texts)]
    rows = spark.createDataFrame(table, "id long, customer_id long, text string")
    classify = mlflow.pyfunc.spark_udf(spark, uri, result_type="string")
    documents = {
        row: json.loads(answer)
        for row, answer in answered(rows, classify, struct("text", "customer_id")).items()
    }
    assert documents[0]["decision"] == {"queue": "urgent", "priority": 1}
    assert documents[1]["decision"] == {"queue": None, "priority": 0}
    assert documents[2]["error"]["reason"] == "opted out"
    assert documents[3]["error"] == {"step": "validate", "reason": "null"}


def test_spark_warns_of_pandas_3(trained: Trained, spark: SparkSession) -> None:
    uri = trained.pipeline["inference_pipeline_model"]
    said = re.search(r'"(PySpark does not [^"]+)"', PAGE)
    assert said is not None
    with pytest.warns(FutureWarning, match=re.escape(said[1])):
        mlflow.pyfunc.spark_udf(spark, uri, result_type="string")


def test_spark_gives_torch_as_many_threads_as_a_task_has_cpus(spark: SparkSession) -> None:
    def threads(_: Any) -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    assert spark.sparkContext.parallelize([0], 1).map(threads).collect() == ["1"]
