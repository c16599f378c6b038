"""Child process that times an engine on a limited number of cores."""

import json
import os
import sys
from pathlib import Path
from typing import Any

_WARM_UP_ROWS = 64


def main(order: dict[str, Any]) -> None:
    """Time the engine of `order` and write the seconds and labels to its answer file."""
    # Before a library counts the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: order["cores"]])
    from benchmarks.timing import timed
    from pyfunc.classifier import Classifier
    from pyfunc.engines.selection import open_engine
    from pyfunc.spec import Variant

    member = Path(order["member"])
    engine, precision = order["engine"].removeprefix("engine ").split()
    classifier = Classifier(
        member / "classifier",
        open_engine(member, Variant(engine, precision)),
        max_tokens=order["max_tokens"],
    )
    texts = json.loads(Path(order["texts"]).read_text(encoding="utf-8"))
    classifier.predict(texts[:_WARM_UP_ROWS])
    found, seconds = timed(lambda: classifier.predict(texts))
    answer = {"seconds": seconds, "labels": [prediction.label for prediction in found]}
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
