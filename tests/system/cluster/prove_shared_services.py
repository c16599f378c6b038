"""Two machines with homes of their own share PostgreSQL and S3: what one made, the other uses."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pytest
from mlflow import MlflowClient

from tasks.common.settings import REPOSITORY
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.cluster_servers import Servers, make_databases, s3_client
from tests.support.postgres import PASSWORD, Postgres
from tests.system.faults.rows import write_rows
from tests.system.faults.whole import check_same

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.timeout(1_200)

TRAINING = (
    *("--sample-size", "0", "--epochs", "2", "--min-steps", "0", "--learning-rate", "5e-3"),
    *("--max-tokens", "32", "--checkpoint-steps", "5"),
)


@dataclass(frozen=True)
class Machine:
    """A machine with a state folder of its own, that knows the addresses of the servers alone."""

    home: Path
    addresses: dict[str, str]

    def run(self, flow: str, *options: str) -> str:
        """Run a command to its end, and return what it said."""
        names = ("MILLSTREAM", "MLFLOW", "PREFECT", "AWS")
        ours = {name: value for name, value in os.environ.items() if not name.startswith(names)}
        ours |= {"MILLSTREAM_HOME": str(self.home), "MILLSTREAM_PROJECT": os.devnull}
        ended = subprocess.run(
            [sys.executable, "-m", f"flows.{flow}", *options],
            cwd=REPOSITORY,
            env=ours | {"OMP_NUM_THREADS": "1"} | self.addresses,
            capture_output=True,
            text=True,
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode == 0, said
        assert PASSWORD not in said
        return said


def keys_in(bucket: "S3Client") -> list[str]:
    """Return the names of all objects."""
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket="millstream")
    return [str(found["Key"]) for page in pages for found in page.get("Contents", ())]


def test_what_one_home_trained_another_scores_compares_explains_and_cleans_up(
    postgres: Postgres, tiny_base: Path, labelled_csv: Path, tmp_path: Path
) -> None:
    make_databases(postgres)
    servers = Servers(tmp_path, postgres)
    with ExitStack() as stack:
        listening = ("-H", "127.0.0.1", "-p", servers.ports["s3"])
        stack.enter_context(servers.started("s3", "-m", "moto.server", *listening))
        servers.wait_for("s3", "/moto-api/")
        bucket = s3_client(servers)
        bucket.create_bucket(Bucket="millstream")
        for name, path in (("mlflow", "/health"), ("prefect", "/api/health")):
            stack.enter_context(servers.started(name))
            servers.wait_for(name, path)
        addresses = {
            "MLFLOW_TRACKING_URI": servers.address("mlflow"),
            "PREFECT_API_URL": servers.address("prefect") + "/api",
        }
        first, second = (Machine(tmp_path / name, addresses) for name in ("home-a", "home-b"))
        client = MlflowClient(addresses["MLFLOW_TRACKING_URI"])

        first.run(
            "train_classifier",
            "--source",
            str(labelled_csv),
            "--base-model",
            str(tiny_base),
            *TRAINING,
        )
        first.run("build_inference_pipeline")
        first.run("build_inference_pipeline", "--max-tokens", "6", "--promotion", "never")
        first.run("build_inference_pipeline", "--max-tokens", "8", "--promotion", "never")
        first.run("promote_pipeline", "--version", "3", "--reason", "to go back")
        first.run("promote_pipeline", "--version", "1", "--reason", "better")
        assert client.get_model_version_by_alias(PIPELINE_MODEL, "champion").version == "1"
        rows = write_rows(tmp_path / "in", 60, seed=4)
        out_a, out_b = tmp_path / "out-a", tmp_path / "out-b"
        first.run("score_shards", "--inputs", str(rows), "--output-dir", str(out_a))
        assert not (first.home / "mlartifacts").exists()
        assert not (first.home / "mlflow.db").exists()

        # The other machine has none of its files.
        first.home.rename(tmp_path / "away")
        second.run("score_shards", "--inputs", str(rows), "--output-dir", str(out_b))
        check_same(out_b, out_a)
        compared = tmp_path / "compared"
        labelled = ("--inputs", str(labelled_csv), "--label-column", "label")
        second.run(
            "compare_pipelines", *labelled, "--output-dir", str(compared), "--challenger", "3"
        )
        version = client.get_model_version(PIPELINE_MODEL, "3")
        assert version.tags["compared_with"] == f"models:/{PIPELINE_MODEL}/1"
        record = json.loads(next(out_a.glob("records/a-*.json")).read_text())
        assert record["model_uri"] == f"models:/{PIPELINE_MODEL}/1"
        # A row that the other machine scored is predicted again here.
        shard, row = record["shard"]["id"], "1"
        where = ("--output-dir", str(out_a), "--shard", shard, "--row", row)
        assert "scores within" in second.run("explain_prediction", *where, "--verify")
        superseded = str(client.get_model_version(PIPELINE_MODEL, "2").source).rpartition("/")[2]
        assert any(superseded in key for key in keys_in(bucket))
        freed = second.run("clean_up", "--keep-versions", "1", "--older-than-days", "0", "--apply")
        assert f"freed models:/{PIPELINE_MODEL}/2 " in freed
        left = client.search_model_versions(f"name = '{PIPELINE_MODEL}'")
        assert {version.version for version in left} == {"1", "3"}
        assert not any(superseded in key for key in keys_in(bucket))
        second.run("score_shards", "--inputs", str(rows), "--output-dir", str(tmp_path / "again"))
        assert all(key.startswith("mlflow/") for key in keys_in(bucket))
    mlflow.set_tracking_uri("")
