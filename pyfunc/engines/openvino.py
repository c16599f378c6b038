"""The transformer on CPUs with OpenVINO."""

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

# Two threads that are the first of the process to compute would wait for each other for ever: its
# tables of types are made at the first use, by code that lets go of the interpreter's lock half
# way (the trap is described in https://github.com/pybind/pybind11/pull/4877).
_one_at_a_time = threading.Lock()


class OpenVinoEngine:
    """A converted model, with as many streams as there are cores to use.

    Two streams of one thread each finish more batches than one of two: nothing has to wait for
    the slower half of a product.
    """

    device = "cpu"

    def __init__(self, folder: Path, precision: Precision) -> None:
        """Read and compile the model.

        Args:
            folder: With `f32.xml` and `f32.bin`, and those of `int8` where that is the precision.
            precision: `bf16` computes the model in f32 with products in bfloat16.

        Raises:
            ArtifactError: If the model is missing or damaged.
            UnsupportedError: If this machine cannot compute it.
        """
        path = model_path(folder, precision)
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; expected a converted model")
        self.variant = Variant("openvino", precision)
        self.streams = usable_cores()
        # Twice: a stream finds its next batch there, and need not wait until Python has time.
        self.callers = 2 * self.streams
        core = import_openvino().Core()
        settings = {
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams,
            "INFERENCE_PRECISION_HINT": _unquantised(precision),
            # It keeps what it prepares for each shape, 5,000 entries by default: no faster than
            # 256, and 64 answer 4 % fewer snippets a second in int8.
            "CPU_RUNTIME_CACHE_CAPACITY": 256,
            # Several processes would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._of_thread = threading.local()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise ArtifactError(
                f"{path}: expected a converted model ({_in_one_line(error)})"
            ) from error
        try:
            self._model = core.compile_model(model, "CPU", settings)
            self._names = [port.get_any_name() for port in self._model.inputs]
            with _one_at_a_time:
                self.logits(TokenBatch(*np.ones((3, 1, 1), np.int64)))
        except RuntimeError as error:
            raise UnsupportedError(f"it does not compile here ({_in_one_line(error)})") from error

    def logits(self, batch: TokenBatch) -> Logits:
        """Return the scores before the softmax, of shape (rows, labels)."""
        request = self._request
        request.start_async(batch.inputs(self._names), share_inputs=True)
        request.wait()
        # A copy: the request overwrites its own with the next batch.
        logits: Logits = request.get_output_tensor().data.astype("float32")
        return logits

    @property
    def _request(self) -> Any:
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._model.create_infer_request()
        return self._of_thread.request


def _in_one_line(error: RuntimeError) -> str:
    return " ".join(str(error).split())


def model_path(folder: Path, precision: Precision) -> Path:
    """Return where the model of a precision is; bf16 is computed from the f32 one."""
    return folder / ("int8.xml" if precision == "int8" else "f32.xml")


def _unquantised(precision: Precision) -> Precision:
    """Return the format of the products that are not in int8."""
    if precision == "f32" or "bf16" not in supported_precisions():
        return "f32"
    # With AMX, OpenVINO 2026.4 computes some batches of an int8 model wrong where the rest is in
    # bf16: scores off by up to 0.59, instead of 0.09.
    return "f32" if precision == "int8" and _has_amx() else "bf16"


def _has_amx() -> bool:
    """Return whether the CPU multiplies tiles of int8; OpenVINO's properties do not tell."""
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


def supported_precisions() -> set[Precision]:
    """Return the precisions for which this CPU has instructions."""
    found = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names: dict[str, Precision] = {"FP32": "f32", "BF16": "bf16", "INT8": "int8"}
    return {names[name] for name in found if name in names}


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports every import to its makers.

    It has no variable to turn that off; where the package for it is missing, it goes without
    (https://github.com/openvinotoolkit/openvino/blob/master/tools/ovc/openvino/tools/ovc/telemetry_utils.py).
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino
