"""Which workers may score: those that answer as the driver does, over connections that are safe."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks.common.settings import REPOSITORY
from tests.support.certificates import dask_variables
from tests.support.cluster import running_cluster, start
from tests.support.operation import Operation
from tests.support.scoring_command import Ended, Running, wait_until
from tests.system.faults.rows import write_rows
from tests.system.faults.whole import check_same, check_tidy

# Each process is the first one of a PID namespace, as in a container.
IN_A_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

WORKER = (sys.executable, "-m", "deployments.cluster_worker")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in", 300, seed=3)


def without_openvino(folder: Path) -> str:
    """Return a folder of modules with which Python finds no OpenVINO."""
    modules = folder / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text("import sys\nsys.modules['openvino'] = None\n")
    return str(modules)


def with_other_code(folder: Path) -> Path:
    """Return a copy of the repository in which a module that scores is another."""
    copy = folder / "repository"
    for room in ("deployments", "flows", "tasks", "pyfunc"):
        shutil.copytree(REPOSITORY / room, copy / room)
    with (copy / "tasks" / "output" / "tables.py").open("a") as file:
        file.write("# changed\n")
    return copy


def test_an_unfit_worker_is_refused_by_name(
    operation: Operation, rows: Path, tmp_path: Path
) -> None:
    with running_cluster(tmp_path / "dask", operation) as cluster:
        cluster.start_worker("torch-alone", PYTHONPATH=without_openvino(tmp_path))
        cluster.start_worker("older", repository=with_other_code(tmp_path))
        scoring = cluster.scoring(rows, tmp_path / "out")
        refused: Ended = scoring.run()
        assert refused.code == 13, refused.said
        assert refused.error.startswith("runner: none of 2 workers may score; the first worker ")
        assert (
            "worker torch-alone: models:/inference_pipeline_model/1 has the engine torch f32"
            in (refused.said)
        )
        assert "expected openvino f32 on cpu" in refused.said
        assert "worker older: has other code" in refused.said
        assert not list((tmp_path / "out").glob("*/*"))

        cluster.start_worker("fit")
        summary = scoring.run_to_the_end()
        assert len(summary["refused_workers"]) == 2
        assert summary["rows_in"] == summary["scored"] + summary["rejected"]
        for name in ("torch-alone", "older"):
            assert "Task run 'score " not in cluster.workers[name].said


def listening(worker: Running) -> set[str]:
    """Return the addresses that a worker listens on."""
    connections = psutil.Process(worker.process.pid).net_connections("tcp")
    return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}


def test_a_worker_that_cannot_start_names_why_and_one_that_waits_is_stopped(
    operation: Operation, tmp_path: Path
) -> None:
    with running_cluster(tmp_path / "dask", operation) as cluster:
        one = cluster.start_worker("one")
        for options, error in (
            (("--name", "one"), "name taken, one"),
            (("--host", "192.0.2.1"), "Cannot assign requested address"),
        ):
            ended = start(
                (*WORKER, cluster.address, *options), tmp_path, {"MILLSTREAM_HOME": str(tmp_path)}
            ).wait()
            assert ended.code == 13, ended.said
            assert ended.error.startswith("name: ")
            assert error in ended.error
        # Its second port asks for no certificate.
        assert listening(one) == {"127.0.0.1"}
        other = start(
            (*WORKER, cluster.address, "--host", "127.0.0.2", "--name", "other"),
            tmp_path,
            {"MILLSTREAM_HOME": str(tmp_path)},
        )
        wait_until(lambda: other.is_over or "worker other at" in other.said, "worker")
        assert listening(other) == {"127.0.0.1", "127.0.0.2"}
        other.kill()
    waiting = start((*WORKER, cluster.address), tmp_path, {"MILLSTREAM_HOME": str(tmp_path)})
    wait_until(lambda: waiting.is_over or "Waiting to connect to" in waiting.said, "worker")
    waiting.process.terminate()
    ended = waiting.wait()
    assert ended.code == 0, ended.said


def test_a_worker_that_loses_the_output_folder_is_used_no_more(
    operation: Operation, rows: Path, tmp_path: Path
) -> None:
    if shutil.which("nsenter") is None:
        pytest.skip("needs unshare and nsenter of util-linux")
    output = tmp_path / "out"
    with running_cluster(tmp_path / "dask", operation) as cluster:
        cluster.start_worker("sound")
        blind = cluster.start_worker("blind", wrapper=("unshare", "--mount"))
        options = ("--shard-rows", "10", "--no-use-cache")
        running = cluster.scoring(rows, output, *options).start()
        wait_until(lambda: running.is_over or "Task run 'score " in blind.said, "a shard of it")
        mount = ("mount", "-t", "tmpfs", "none", str(output))
        subprocess.run(("nsenter", "-t", str(blind.process.pid), "-m", *mount), check=True)
        ended = running.wait()
        assert ended.code == 0, ended.said
        assert f"not used: worker blind: has no output_dir {output} of the driver" in ended.said
        by_threads = cluster.scoring(rows, tmp_path / "threads", *options, "--runner", "threads")
        by_threads.run_to_the_end()
        check_same(output, tmp_path / "threads")
        check_tidy(output)


def test_workers_in_namespaces_publish_the_same_files_over_tls(
    operation: Operation, rows: Path, tmp_path: Path
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare of util-linux")
    variables = dask_variables(tmp_path / "certificates")
    with running_cluster(tmp_path / "dask", operation, protocol="tls", **variables) as cluster:
        for name in ("one", "two"):
            cluster.start_worker(name, wrapper=IN_A_NAMESPACE)
        options = ("--shard-rows", "50")
        by_threads = cluster.scoring(rows, tmp_path / "threads", *options, "--runner", "threads")
        by_threads.run_to_the_end()
        scoring = cluster.scoring(rows, tmp_path / "out", *options)
        scoring.run_to_the_end()
        check_same(tmp_path / "out", tmp_path / "threads")
        check_tidy(tmp_path / "out")
        for worker in cluster.workers.values():
            assert "Task run 'score " in worker.said
            assert "tls://127.0.0.1" in worker.said

        # Who has no certificate gets nothing.
        stranger = dict.fromkeys(variables, "")
        refused = cluster.scoring(rows, tmp_path / "stranger", *options, **stranger).run()
        assert refused.code == 13
        assert refused.error.startswith(f"runner: {cluster.address} needs certificates; expected")
        others = dask_variables(tmp_path / "others")
        refused = cluster.scoring(rows, tmp_path / "stranger", *options, **others).run()
        assert refused.code == 13
        assert refused.error.startswith(f"runner: no scheduler answers at {cluster.address}")
