"""Measure the speed and the memory of a version in a process of its own.

    python -I speed_script.py MODEL_URI QUESTION.json ANSWER.json

Run by `tasks/comparison/speed.py`.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import mlflow

_BATCH_ROWS = 32
_BATCH_TOKENS = 1_024
_KIB = 1_024


def main(model_uri: str, question: Path, answer: Path) -> None:
    """Predict the texts of the question in batches, without the cache; answer what it took."""
    texts = json.loads(question.read_text(encoding="utf-8"))
    pipeline = mlflow.pyfunc.load_model(model_uri).unwrap_python_model().pipeline
    # Look-ups and rules are left out: their keys are not here.
    model = getattr(pipeline, "inner", pipeline)
    try:
        _seconds(model, texts[:_BATCH_ROWS])  # the first call prepares the engine
        seconds = _seconds(model, texts)
    except Exception as error:  # noqa: BLE001 -- any message may quote a text
        sys.exit(f"{type(error).__name__} while predicting")
    # Not ru_maxrss, which a child inherits from the process that starts it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * _KIB
    found = {"rows": len(texts), "batch_seconds": seconds, "peak_bytes": peak}
    answer.write_text(json.dumps(found), encoding="utf-8")


def _seconds(model: Any, texts: list[str]) -> list[float]:
    """Return how long each batch takes."""
    seconds = []
    for start in range(0, len(texts), _BATCH_ROWS):
        began = time.perf_counter()
        batch = texts[start : start + _BATCH_ROWS]
        model.predict(batch, use_cache=False, batch_tokens=_BATCH_TOKENS)
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
