"""OpenVINO inference engine: the transformer on CPUs, in f32, bf16 or int8."""

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..cpu_quota import usable_cores
from ..errors import ArtifactError, UnsupportedError
from ..spec import Precision, Variant
from ..tokens import TokenBatch
from .engine import Logits

# By their names in Linux, of x86 and ARM.
_INT8_INSTRUCTIONS = frozenset(
    {"avx2", "avx_vnni", "avx_vnni_int8", "avx512bw", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}
)

# If the first inferences of a process run in two threads, they deadlock: the code that makes its
# type tables at the first use releases the GIL half way
# (https://github.com/pybind/pybind11/pull/4877 describes the trap).
_first_inference_lock = threading.Lock()


class OpenVinoEngine:
    """A converted model with one stream a usable core.

    Two streams of one thread finish more batches than one stream of two threads: none waits for
    the slower half of a product.
    """

    device = "cpu"

    def __init__(self, folder: Path, precision: Precision) -> None:
        """Read and compile the model.

        Args:
            folder: Holds `f32.xml` and `f32.bin`, for int8 `int8.xml` and `int8.bin`.
            precision: `bf16` computes the f32 model with matrix products in bfloat16.

        Raises:
            ArtifactError: If the model is missing or damaged.
            UnsupportedError: If this machine cannot compute it.
        """
        path = model_path(folder, precision)
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; expected a converted model")
        self.variant = Variant("openvino", precision)
        self.streams = usable_cores()
        # Two calls a stream: the next batch is queued before the stream is idle.
        self.callers = 2 * self.streams
        core = import_openvino().Core()
        settings = {
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams,
            "INFERENCE_PRECISION_HINT": _float_precision(precision),
            # Kernels cached by shape. Eight online clients send some 80 shapes: with 256 they got
            # 7 to 14 % fewer answers in int8, which has 130 MiB less then. The default of 5,000
            # is no faster.
            "CPU_RUNTIME_CACHE_CAPACITY": 1000,
            # Pinning would put several processes on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._thread_local = threading.local()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise ArtifactError(
                f"{path}: expected a converted model ({_single_line(error)})"
            ) from error
        try:
            self._model = core.compile_model(model, "CPU", settings)
            self._names = [port.get_any_name() for port in self._model.inputs]
            with _first_inference_lock:
                self.logits(TokenBatch(*np.ones((3, 1, 1), np.int64)))
        except RuntimeError as error:
            raise UnsupportedError(f"it does not compile here ({_single_line(error)})") from error

    def logits(self, batch: TokenBatch) -> Logits:
        """Return the logits, of shape (rows, labels)."""
        request = self._request
        request.start_async(batch.inputs(self._names), share_inputs=True)
        request.wait()
        # A copy: the next batch overwrites the tensor of the request.
        logits: Logits = request.get_output_tensor().data.astype("float32")
        return logits

    @property
    def _request(self) -> Any:
        if not hasattr(self._thread_local, "request"):
            self._thread_local.request = self._model.create_infer_request()
        return self._thread_local.request


def _single_line(error: RuntimeError) -> str:
    return " ".join(str(error).split())


def model_path(folder: Path, precision: Precision) -> Path:
    """Return the path of the model for a precision; bf16 uses the f32 model."""
    return folder / ("int8.xml" if precision == "int8" else "f32.xml")


def _float_precision(precision: Precision) -> Precision:
    """Return the number format of the matrix products that are not quantised."""
    if precision == "f32" or "bf16" not in supported_precisions():
        return "f32"
    # With AMX, OpenVINO 2026.4 computes some batches of an int8 model with bf16 wrong: scores are
    # off by up to 0.59 instead of 0.09.
    return "f32" if precision == "int8" and "amx_int8" in _int8_instructions() else "bf16"


def int8_arithmetic() -> list[str]:
    """Return what decides the results of an int8 model on this machine, besides the model.

    The number format of the products that are not quantised, and the instructions for those that
    are: without VNNI their sums saturate. OpenVINO names its kernels, but not before each stream
    has computed, so that two processes of one machine would differ.
    """
    found = sorted(_int8_instructions())
    if not found:  # no Linux, or none that is known
        found = [str(import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))]
    return [_float_precision("int8"), *found]


def _int8_instructions() -> set[str]:
    """Return the CPU's instructions for int8; OpenVINO has no property for them."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return set()
    return words & _INT8_INSTRUCTIONS


def supported_precisions() -> set[Precision]:
    """Return the precisions that this CPU has instructions for."""
    found = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names: dict[str, Precision] = {"FP32": "f32", "BF16": "bf16", "INT8": "int8"}
    return {names[name] for name in found if name in names}


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports every import.

    No variable turns that off; OpenVINO skips it where the package `openvino_telemetry` is missing
    (https://github.com/openvinotoolkit/openvino/blob/master/tools/ovc/openvino/tools/ovc/telemetry_utils.py).
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino
