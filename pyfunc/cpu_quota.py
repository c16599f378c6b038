"""CPU affinity and cgroup CPU quota: how many cores this process may use."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Return the cores of the process: its CPU affinity, limited by its quota.

    `os.cpu_count()` ignores both: a container with two of 64 cores would start 64 threads.

    Args:
        cgroup: Mount point of the control group of the process or its container.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the quota of CPU time in cores, or None if there is no limit."""
    for quota_file, period_file in (
        ("cpu.max", None),  # https://docs.kernel.org/admin-guide/cgroup-v2.html
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),  # version 1; -1 is unlimited
    ):
        try:
            fields = (cgroup / quota_file).read_text().split()
            if period_file is not None:
                fields += (cgroup / period_file).read_text().split()
        except OSError:
            continue
        if len(fields) == 2 and all(field.isdecimal() and int(field) > 0 for field in fields):
            return int(fields[0]) / int(fields[1])
    return None
