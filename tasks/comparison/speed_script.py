"""Measure the speed and the memory of a version in a process of its own.

    python -I speed_script.py MODEL_URI TEXTS.json MEASURES.json

Run by `tasks/comparison/speed.py`.
"""

import json
import resource
import sys
import time
from pathlib import Path

import mlflow

_BATCH_ROWS = 32
_BATCH_TOKENS = 1_024
_KIB = 1_024


def main(model_uri: str, texts_file: Path, measures: Path) -> None:
    """Predict the texts in batches, without the cache, and write what it took."""
    texts = json.loads(texts_file.read_text(encoding="utf-8"))
    pipeline = mlflow.pyfunc.load_model(model_uri).unwrap_python_model().pipeline
    # Look-ups and rules are left out: their keys are not here.
    model = getattr(pipeline, "inner", pipeline)
    options = {"use_cache": False, "batch_tokens": _BATCH_TOKENS}
    model.predict(texts[:_BATCH_ROWS], **options)  # the first call prepares the engine
    seconds = []
    for start in range(0, len(texts), _BATCH_ROWS):
        began = time.perf_counter()
        model.predict(texts[start : start + _BATCH_ROWS], **options)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    found = {"rows": len(texts), "batch_seconds": seconds, "peak_bytes": peak}
    measures.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
