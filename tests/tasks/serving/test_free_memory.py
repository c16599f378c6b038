from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.serving.following import free_memory

MIB = 2**20

Write = Callable[[Path, str, int, int], None]


def write_v2(cgroup: Path, limit: str, used: int, cached: int) -> None:
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")
    (cgroup / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def write_v1(cgroup: Path, limit: str, used: int, cached: int) -> None:
    (cgroup / "memory").mkdir()
    (cgroup / "memory/memory.limit_in_bytes").write_text(f"{limit}\n")
    (cgroup / "memory/memory.usage_in_bytes").write_text(f"{used}\n")
    (cgroup / "memory/memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {cached}\n")


@pytest.mark.parametrize("write", [write_v1, write_v2])
def test_a_container_has_what_its_limit_leaves_and_cached_files(
    write: Write, tmp_path: Path
) -> None:
    write(tmp_path, str(100 * MIB), 80 * MIB, 30 * MIB)
    assert free_memory(tmp_path) == 50 * MIB


def test_nothing_is_free_above_the_limit(tmp_path: Path) -> None:
    write_v2(tmp_path, str(100 * MIB), 120 * MIB, 0)
    assert free_memory(tmp_path) == 0


@pytest.mark.parametrize(("write", "limit"), [(write_v1, str(2**63 - 4_096)), (write_v2, "max")])
def test_without_a_limit_the_machine_counts(
    write: Write, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = psutil.virtual_memory()._replace(available=70 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert free_memory(tmp_path / "nowhere") == 70 * MIB
    write(tmp_path, limit, 80 * MIB, 0)
    assert free_memory(tmp_path) == 70 * MIB


def test_this_machine_has_some() -> None:
    assert free_memory() > 0
