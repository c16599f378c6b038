"""Child process that trains and builds a cascade with the project's flows."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.plan import CASCADE_MEMBERS

# Neither measures nor reports a model: the gates of the build do.
_STEPS = {"steps": ("download_data", "split_data", "fine_tuning_model", "register_model")}


def main(order: dict[str, Any]) -> None:
    """Build the cascade of `order` and write its URI and figures to its answer file."""
    from prefect.server.api.server import SubprocessASGIServer

    from flows.build_inference_pipeline import build_inference_pipeline
    from flows.train_classifier import train_classifier
    from tasks.common.errors import ModelError

    SubprocessASGIServer().start()  # one server for all flows
    quick, film = CASCADE_MEMBERS
    trained = {film: train_classifier(**order["transformer"] | _STEPS)}
    taught = {"teacher": trained[film]["finetuned_model"]}
    trained[quick] = train_classifier(**order["static"] | _STEPS | taught)
    members = {name: {"model": report["finetuned_model"]} for name, report in trained.items()}
    members[film] |= order["engine"]
    composition = {"members": members, "answer": order["tree"]}
    file = Path(order["composition"])
    file.write_text(json.dumps(composition), encoding="utf-8")  # JSON is YAML
    answer: dict[str, Any] = {
        "runs": {name: report["finetuned_run_id"] for name, report in trained.items()}
    }
    try:
        built = build_inference_pipeline(composition=str(file))
    except ModelError as error:
        answer |= {"uri": "", "refused": str(error), "check": None}
    else:
        uri = built["inference_pipeline_model"]
        answer |= {"uri": uri, "refused": "", "check": built["composition"]}
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
