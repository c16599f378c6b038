"""Child process that trains and builds the benchmarked models with the project's flows."""

import json
import sys
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Build the pipelines of `order` and write their URIs to its answer file."""
    from prefect.server.api.server import SubprocessASGIServer

    from flows.build_inference_pipeline import build_inference_pipeline
    from flows.train_classifier import train_classifier

    SubprocessASGIServer().start()  # one server for all flows
    trained = train_classifier(**order["training"])["finetuned_model"]
    built = [build_inference_pipeline(trained, **parameters) for parameters in order["pipelines"]]
    uris = [report["inference_pipeline_model"] for report in built]
    Path(order["answer"]).write_text(json.dumps(uris), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
