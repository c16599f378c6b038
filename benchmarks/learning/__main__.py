"""`python -m benchmarks.learning`: ways to learn from a stream of labels, on data that changes.

A classifier of snippets meets IMDB, then IMDB of which some labels mean the opposite, then snippets
again. Each batch of labels tests the champion first, and is learnt then, by the commands of a user:
not at all, by a new head, by all weights where the head is not enough, and by a new training. Then
feedback is poisoned. All state is under `var/bench/learning`, and is made anew by each run.
"""

import argparse
import shutil
import time
from pathlib import Path

from rich.console import Console

from benchmarks.isolation import isolate
from benchmarks.learning.measured import Results
from benchmarks.learning.report import write_report
from benchmarks.learning.state import State
from benchmarks.learning.strategies import (
    accuracies,
    follow,
    measure_poisoning,
    start,
    strategies,
)
from benchmarks.learning.stream import (
    IMDB,
    QUICK,
    RELABELLED,
    SNIPPETS,
    Sizes,
    Stream,
    is_relabelled,
    make_stream,
    read_rows,
)
from benchmarks.machine import describe
from tasks.common.settings import REPOSITORY, get_settings

# Share of the labels, and the cap.
_POISONINGS = ((0.0, 1.0), (0.05, 1.0), (0.05, 0.02), (0.2, 1.0), (0.2, 0.02))

_SO_FAR = "so-far.json"  # a run takes long: what it measured survives its failure


def main() -> None:
    """Measure, and write results, tables and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", default="static", help="as of train_classifier")
    parser.add_argument("--quick", action="store_true", help="few rows: shows that it works")
    parser.add_argument(
        "--output",
        type=Path,
        default=REPOSITORY / "benchmarks" / "results" / "learning",
        help="folder of the results; of a quick run, the state folder",
    )
    given = parser.parse_args()
    folder = get_settings().root / "bench" / "learning"
    isolate()
    shutil.rmtree(folder, ignore_errors=True)
    sizes = QUICK if given.quick else Sizes()
    stream = make_stream(sizes, read_rows(SNIPPETS), read_rows(IMDB))
    results = _measure(folder, sizes, stream, given.base_model)
    output = folder if given.quick else given.output
    write_report(results, output, Path(given.base_model).name)
    Console().print(output, soft_wrap=True)


def _measure(folder: Path, sizes: Sizes, stream: Stream, base_model: str) -> Results:
    began = time.perf_counter()
    machine = describe()
    first = State(folder / "first")
    start(first, stream, base_model)
    relabelled = [row for row in stream.fixed[RELABELLED] if is_relabelled(row)]
    results = Results(
        machine=machine,
        seconds=0.0,
        quick=sizes == QUICK,
        base_model=base_model,
        training_rows=len(stream.training),
        fixed_rows=sizes.fixed_rows,
        relabelled=len(relabelled) / sizes.fixed_rows,
        relabelled_positive=sum(row.label == "positive" for row in relabelled) / len(relabelled),
        start=accuracies(first, first.champion(), stream.fixed),
    )
    results.write(folder / _SO_FAR)
    for name, learn in strategies(base_model).items():
        state = first.copied_to(folder / name.replace(" ", "-"))
        followed = follow(name, learn, state, stream)
        results = results.model_copy(update={"strategies": (*results.strategies, followed)})
        results.write(folder / _SO_FAR)
    for share, cap in _POISONINGS:
        state = first.copied_to(folder / f"poisoned-{share:.0%}-capped-{cap}")
        poisoning = measure_poisoning(state, stream, share, cap)
        results = results.model_copy(update={"poisonings": (*results.poisonings, poisoning)})
        results.write(folder / _SO_FAR)
    return results.model_copy(update={"seconds": time.perf_counter() - began})


if __name__ == "__main__":
    main()
