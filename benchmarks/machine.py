"""Description of the benchmarked machine: CPU, memory, GPU and package versions."""

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

# Instruction sets that decide which kernels run.
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx_vnni", "avx512_vnni", "amx_bf16", "amx_int8")

_PACKAGES = (
    "mlflow",
    "nncf",
    "numpy",
    "openvino",
    "pandas",
    "prefect",
    "pyarrow",
    "tokenizers",
    "torch",
    "transformers",
)


class Machine(BaseModel):
    """The machine and time of a run.

    Attributes:
        cpu: Model name.
        cpu_flags: Its instruction sets among `_FLAGS`.
        cores: Cores that this process may use.
        memory_gib: Memory of the machine.
        gpu: Name of the GPU, or an empty string.
        kernel: Release of the operating system.
        python: Version.
        packages: Versions by name.
        git_commit: Of the repository, with `-dirty` for uncommitted changes.
        date: Start of the run, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    cpu_flags: tuple[str, ...]
    cores: int
    memory_gib: float
    gpu: str
    kernel: str
    python: str
    packages: dict[str, str]
    git_commit: str
    date: datetime

    def described(self) -> Iterator[tuple[str, str]]:
        """Yield what a report says of it, by name."""
        yield "CPU", f"{self.cpu}: {', '.join(self.cpu_flags)}"
        yield "GPU", self.gpu or "none"
        yield "cores that may be used", str(self.cores)
        yield "memory", f"{self.memory_gib} GiB"
        yield "system", f"{self.kernel}, Python {self.python}"
        yield "packages", ", ".join(f"{name} {of}" for name, of in self.packages.items())
        yield "commit", self.git_commit
        yield "date", self.date.isoformat()


def describe() -> Machine:
    """Describe the machine of this process."""
    from tasks.tracking.mlflow_client import git_commit

    facts = _cpu_facts()
    flags = facts.get("flags", "").split()
    return Machine(
        cpu=facts.get("model name", platform.machine()),
        cpu_flags=tuple(flag for flag in _FLAGS if flag in flags),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        git_commit=git_commit(),
        date=datetime.now(UTC).replace(microsecond=0),
    )


def _cpu_facts() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
