import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyfunc.cpu_quota import usable_cores
from tasks.common.settings import REPOSITORY

ALLOWED = len(os.sched_getaffinity(0))


def test_cores_are_those_that_the_process_may_run_on() -> None:
    script = """
import os
from collections.abc import Callable
from pathlib import Path
from pyfunc.cpu_quota import usable_cores
print(usable_cores(Path("/nowhere")), end=" ")
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores(Path("/nowhere")))
"""
    child = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert child.stdout.split() == [str(ALLOWED), "1"]


def test_this_machine_has_cores() -> None:
    assert 1 <= usable_cores() <= ALLOWED


def write_v2(cgroup: Path, quota: str, period: str) -> None:
    (cgroup / "cpu.max").write_text(f"{quota} {period}\n")


def write_v1(cgroup: Path, quota: str, period: str) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize("write", [write_v2, write_v1])
@pytest.mark.parametrize(
    ("quota", "granted"),
    [("100000", 1), ("1000", 1), ("50000", 1), ("100001", 2), ("200000", 2), ("6400000", 64)],
)
def test_a_quota_grants_as_many_cores_as_it_keeps_busy(
    tmp_path: Path, write: Callable[[Path, str, str], None], quota: str, granted: int
) -> None:
    write(tmp_path, quota, "100000")
    assert usable_cores(tmp_path) == min(granted, ALLOWED)


def test_the_period_counts(tmp_path: Path) -> None:
    write_v2(tmp_path, "100000", "50000")
    assert usable_cores(tmp_path) == min(2, ALLOWED)


def test_no_quota_grants_all_cores(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALLOWED
    write_v2(tmp_path, "max", "100000")
    assert usable_cores(tmp_path) == ALLOWED
    (tmp_path / "cpu.max").unlink()
    write_v1(tmp_path, "-1", "100000")
    assert usable_cores(tmp_path) == ALLOWED


@pytest.mark.parametrize(
    "content", ["", "100000", "100000 100000 1", "a b", "-5 100000", "1 0", "0 1"]
)
def test_a_quota_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores(tmp_path) == ALLOWED


def test_half_of_a_quota_is_none(tmp_path: Path) -> None:
    write_v1(tmp_path, "50000", "100000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").unlink()
    assert usable_cores(tmp_path) == ALLOWED
