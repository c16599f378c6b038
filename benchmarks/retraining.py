"""`python -m benchmarks.retraining`: how often trainings that differ by their seed become champion.

Trainings on samples of the snippets, each with another seed, are built one after the other, with
`--promotion if_better`. Beside it stands how often each would have replaced the one before it if an
accuracy that is no lower were enough. All state is under `var/bench/retraining`.
"""

import argparse
import json
import os
from typing import Any

from rich.console import Console

from benchmarks.machine import describe
from tasks.common.settings import get_settings
from tasks.common.text import markdown_table


def main() -> None:
    """Train, build, and print a row for each training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=21, help="the first is the champion")
    parser.add_argument("--base-model", default="static", help="as of train_classifier")
    parser.add_argument("--sample-size", type=int, default=4_000, help="rows of each training")
    given = parser.parse_args()
    home = get_settings().root / "bench" / "retraining"
    os.environ["MILLSTREAM_HOME"] = str(home)
    get_settings.cache_clear()
    rows = _train_and_build(given.trainings, given.base_model, given.sample_size)
    figures = {
        "trainings": len(rows) - 1,
        "champions_if_better": sum(row["champion"] for row in rows[1:]),
        "champions_if_no_lower": _count_no_lower([row["accuracy"] for row in rows]),
        "test_rows": rows[-1]["test_rows"],
        "rows": rows,
    }
    (home / "results.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    machine = describe()
    cells = [tuple(str(value) for value in row.values()) for row in rows]
    Console().print(f"{machine.cpu}, {machine.cores} cores", markup=False)
    Console().print(markdown_table(list(rows[0]), cells), markup=False, soft_wrap=True)
    Console().print_json(data={name: value for name, value in figures.items() if name != "rows"})


def _train_and_build(trainings: int, base_model: str, sample_size: int) -> list[dict[str, Any]]:
    from prefect.server.api.server import SubprocessASGIServer

    from flows.build_inference_pipeline import build_inference_pipeline
    from flows.train_classifier import train_classifier
    from tasks.tracking.registry import find_version

    SubprocessASGIServer().start()  # one server for all flows
    rows = []
    for seed in range(trainings):
        trained = train_classifier(base_model=base_model, sample_size=sample_size, seed=seed)
        built = build_inference_pipeline(trained["finetuned_model"])
        uri = built["inference_pipeline_model"]
        tags = find_version(uri.removeprefix("models:/").partition("/")[0], uri).tags
        rows.append(
            {
                "seed": seed,
                "accuracy": float(tags.get("accuracy", "nan")),
                "champion_accuracy": float(tags.get("champion_accuracy", "nan")),
                "p_value": float(tags.get("p_value", "nan")),
                "test_rows": int(tags.get("test_rows", 0)),
                "champion": built["alias"] == "champion",
            }
        )
    rows[0]["accuracy"] = rows[1]["champion_accuracy"]  # it was compared with nothing
    return rows


def _count_no_lower(accuracies: list[float]) -> int:
    """Return how many would become champion if an accuracy that is no lower were enough."""
    champion, replaced = accuracies[0], 0
    for accuracy in accuracies[1:]:
        if accuracy >= champion:
            champion, replaced = accuracy, replaced + 1
    return replaced


if __name__ == "__main__":
    main()
