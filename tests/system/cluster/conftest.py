"""Servers that are shared by the tests of a cluster, and what threads answer."""

from collections.abc import Iterator

import pytest

from tests.support.builders import Trained
from tests.support.cluster import Cluster, running_cluster
from tests.support.operation import Operation, in_operation
from tests.support.scoring_command import state_folder


@pytest.fixture(scope="session")
def operation(
    _trained_once: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operation]:
    """Prefect's and MLflow's servers, with a champion."""
    home = state_folder(_trained_once.home, tmp_path_factory.mktemp("servers") / "var")
    with in_operation(home) as operation:
        yield operation


@pytest.fixture(scope="session")
def cluster(operation: Operation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler with two workers, of which each has a home of its own."""
    folder = tmp_path_factory.mktemp("dask") / "cluster"
    with running_cluster(folder, operation) as cluster:
        for name in ("one", "two"):
            cluster.start_worker(name)
        yield cluster
