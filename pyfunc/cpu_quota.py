"""How many cores this process may use."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Return the cores that the process may keep busy: its affinity, within its quota.

    `os.cpu_count()` knows neither, so that a container with two of 64 cores would start 64
    threads on them.

    Args:
        cgroup: Where the control group of the process, or of its container, is mounted.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the cores' worth of time that the kernel grants, or None if that is unlimited."""
    for quota_file, period_file in (
        ("cpu.max", None),  # https://docs.kernel.org/admin-guide/cgroup-v2.html
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),  # version 1; -1 is unlimited
    ):
        try:
            words = (cgroup / quota_file).read_text().split()
            if period_file is not None:
                words += (cgroup / period_file).read_text().split()
        except OSError:
            continue
        if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
            return int(words[0]) / int(words[1])
    return None
