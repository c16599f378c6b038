"""Peak bf16 GFLOP/s of the machine's matrix products, sampled during a run."""

import time
from dataclasses import dataclass, field

import torch

# Rows, inner size and columns: a layer of a small transformer, and squares for full load.
CPU_SHAPES = ((1_024, 384, 1_536), (1_024, 1_024, 1_024), (2_048, 2_048, 2_048))
CUDA_SHAPES = ((4_096, 4_096, 4_096), (8_192, 8_192, 8_192))

_REPEATS = 5


@dataclass
class Peak:
    """Samples of the fastest bf16 matrix product, in GFLOP/s.

    The speed of a shared machine changes within minutes, so the peak is the best of many samples
    between the measurements.
    """

    device: str
    samples: list[float] = field(default_factory=list)

    def sample(self) -> None:
        """Measure each shape a few times and keep the best."""
        shapes = CUDA_SHAPES if self.device == "cuda" else CPU_SHAPES
        self.samples.append(max(self._gflops(*shape) for shape in shapes))

    @torch.inference_mode()
    def _gflops(self, rows: int, inner: int, columns: int) -> float:
        left = torch.randn(rows, inner, dtype=torch.bfloat16, device=self.device)
        right = torch.randn(columns, inner, dtype=torch.bfloat16, device=self.device)
        seconds = min(self._seconds(left, right) for _ in range(_REPEATS))
        return 2 * rows * inner * columns / seconds / 1e9

    def _seconds(self, left: torch.Tensor, right: torch.Tensor) -> float:
        self._wait()
        started = time.perf_counter()
        torch.nn.functional.linear(left, right)
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
