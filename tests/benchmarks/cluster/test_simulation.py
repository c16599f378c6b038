"""The simulation of a cluster, beside what can be computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cluster.parts import (
    DRIVER,
    PARTS,
    SERVER,
    WORKERS,
    Cluster,
    Costs,
    Simulated,
    Work,
    one_machine,
    own_machines,
)
from benchmarks.cluster.simulation import simulate

COSTS = Costs(
    driver_run=5.0,
    driver_file=0.25,
    driver_survey_row=0.001,
    driver_row=0.002,
    driver_task=0.05,
    driver_shard=0.01,
    scheduler_run=1.5,
    scheduler_task=0.02,
    server_run=0.5,
    server_task=0.06,
    registry_load=0.75,
    worker_load=3.0,
    worker_task=0.2,
    worker_row=0.01,
)
WORK = Work(files=2, rows=5_000, shard_rows=1_000)

small = st.floats(0, 1, allow_nan=False)


def cpu(simulated: Simulated) -> float:
    return sum(simulated.cpu_s.values())


def test_one_core_takes_the_sum_of_all_costs() -> None:
    simulated = simulate(COSTS, one_machine(cores=1, workers=1), WORK)
    by_hand = {
        "driver": 5 + 2 * 0.25 + 10_000 * 0.003 + 10 * 0.06,
        "scheduler": 1.5 + 10 * 0.02,
        "server": 0.5 + 10 * 0.06,
        "registry": 2 * 0.75,
        "workers": 3 + 10 * 0.2 + 10_000 * 0.01,
    }
    assert simulated.tasks == 10
    assert simulated.cpu_s == pytest.approx(by_hand)
    assert simulated.settled_s == pytest.approx(sum(by_hand.values()))
    assert simulated.wall_s <= simulated.settled_s


def test_two_workers_on_machines_of_their_own_take_half_as_long() -> None:
    costs = Costs(worker_task=0.2, worker_row=0.01)
    one, two = (simulate(costs, own_machines(workers, threads=1), WORK) for workers in (1, 2))
    assert one.wall_s == pytest.approx(10 * 0.2 + 10_000 * 0.01)
    assert two.wall_s == pytest.approx(one.wall_s / 2)
    assert (one.limit, two.limit) == (WORKERS, WORKERS)
    assert two.utilisation[WORKERS] == pytest.approx(1)


def test_the_limit_is_the_workers_though_one_has_more_to_do_than_the_other() -> None:
    costs = Costs(worker_row=0.01)
    uneven = simulate(costs, own_machines(workers=2, threads=1), Work(1, 3_000, shard_rows=1_000))
    assert uneven.utilisation[WORKERS] == pytest.approx(0.75)
    assert uneven.limit == WORKERS


def test_threads_of_a_worker_score_as_workers_do() -> None:
    costs = Costs(worker_row=0.01)
    threads = simulate(costs, own_machines(1, threads=2), WORK)
    assert threads.wall_s == pytest.approx(simulate(costs, own_machines(2, threads=1), WORK).wall_s)


def test_a_task_uses_the_cores_that_are_free_for_its_streams() -> None:
    costs = Costs(worker_row=0.01)
    for cores, seconds in ((1, 100), (2, 50), (3, 50)):
        simulated = simulate(costs, one_machine(cores, workers=1, streams=2), WORK)
        assert simulated.wall_s == pytest.approx(seconds)
        assert simulated.cpu_s[WORKERS] == pytest.approx(100)
        assert simulated.utilisation[WORKERS] <= 1 + 1e-9


def test_two_workers_share_the_only_core_of_a_machine() -> None:
    costs = Costs(worker_row=0.01)
    shared = simulate(costs, one_machine(cores=1, workers=2), WORK)
    assert shared.wall_s == pytest.approx(100)
    assert shared.limit == "cores of machine 0"


def test_unequal_jobs_share_a_core_until_the_shorter_ends() -> None:
    # Each gets half of the core until the server ends after 2 s; the load then needs 2 s more.
    costs = Costs(worker_load=3.0, server_run=1.0)
    both = simulate(costs, one_machine(cores=1, workers=1), Work(files=0, rows=0, shard_rows=1))
    assert both.settled_s == pytest.approx(4.0)
    assert both.cpu_s[SERVER] == 1.0


def test_the_driver_is_the_limit_of_workers_that_cost_nothing() -> None:
    costs = Costs(driver_row=0.002, driver_task=0.05, driver_shard=0.01, worker_row=1e-9)
    simulated = simulate(costs, own_machines(workers=8, threads=8), WORK)
    assert simulated.wall_s == pytest.approx(10_000 * 0.002 + 10 * 0.06, rel=1e-4)
    assert simulated.limit == DRIVER
    assert simulated.utilisation[DRIVER] == pytest.approx(1, rel=1e-4)


def test_a_server_that_is_too_slow_ends_after_the_driver() -> None:
    costs = Costs(server_task=5.0, worker_row=0.0001)
    simulated = simulate(costs, own_machines(workers=1, threads=1), WORK)
    assert simulated.settled_s == pytest.approx(0.1 + 10 * 5.0)
    assert simulated.wall_s == pytest.approx(1.0)
    assert simulated.limit == SERVER
    assert simulated.utilisation[SERVER] == pytest.approx(50)


def test_each_worker_loads_the_model_once_from_one_registry() -> None:
    costs = Costs(registry_load=1.0, worker_load=2.0)
    none = Work(files=0, rows=0, shard_rows=1)
    simulated = simulate(costs, own_machines(workers=4, threads=1), none)
    # One after another gets the files, the driver first.
    assert simulated.settled_s == pytest.approx(5.0 + 2.0)
    assert simulated.cpu_s[WORKERS] == pytest.approx(8.0)


def test_time_in_which_nobody_computes_is_added_once() -> None:
    costs = Costs(worker_row=0.01, waiting_run=7.0)
    assert simulate(costs, own_machines(1, threads=1), WORK).wall_s == pytest.approx(107)


def test_small_files_share_tasks_and_a_rest_is_a_shard_of_its_own() -> None:
    small_files = Work(files=250, rows=1, shard_rows=2_000)
    assert simulate(COSTS, own_machines(1, threads=1), small_files).tasks == 3
    assert list(Work(files=2, rows=25, shard_rows=10).shards()) == [10, 10, 5, 10, 10, 5]


def test_a_cluster_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="workers: none"):
        simulate(COSTS, Cluster(cores=(1,), workers=()), WORK)


@given(workers=st.integers(1, 9), threads=st.integers(1, 4), cores=st.integers(1, 4))
def test_cpu_seconds_do_not_depend_on_the_workers(workers: int, threads: int, cores: int) -> None:
    one = simulate(COSTS, one_machine(cores=1, workers=1), WORK)
    loads = (COSTS.registry_load + COSTS.worker_load) * (workers - 1)
    for cluster in (own_machines(workers, threads), one_machine(cores, workers, threads)):
        simulated = simulate(COSTS, cluster, WORK)
        assert cpu(simulated) == pytest.approx(cpu(one) + loads)
        assert simulated.tasks == one.tasks
        assert simulated.cpu_s.keys() == set(PARTS)


@given(
    workers=st.integers(1, 6),
    shards=st.integers(1, 40),
    row=small,
    task=small,
    staging=small,
    publishing=small,
)
def test_another_worker_costs_a_task_at_most(
    workers: int, shards: int, row: float, task: float, staging: float, publishing: float
) -> None:
    costs = Costs(worker_row=row, worker_task=task, driver_row=staging, driver_shard=publishing)
    work = Work(files=1, rows=shards * 10, shard_rows=10)
    fewer, more = (
        simulate(costs, own_machines(number, threads=1), work) for number in (workers, workers + 1)
    )
    # The driver stages more before it publishes, so that the last task may end a little later.
    one_task = task + 10 * row + 10 * staging + publishing
    assert more.wall_s <= fewer.wall_s + one_task + 1e-6


@given(workers=st.integers(1, 6), row=small, staging=small, shards=st.integers(1, 40))
def test_a_run_takes_no_less_than_its_bounds(
    workers: int, row: float, staging: float, shards: int
) -> None:
    costs = Costs(worker_row=row, driver_row=staging)
    simulated = simulate(
        costs, own_machines(workers, threads=1), Work(files=1, rows=shards, shard_rows=1)
    )
    bound = max(simulated.cpu_s[DRIVER], simulated.cpu_s[WORKERS] / workers)
    assert simulated.wall_s >= bound - 1e-9
    assert max(simulated.utilisation.values()) <= 1 + 1e-9
