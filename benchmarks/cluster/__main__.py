"""`python -m benchmarks.cluster`: measure a cluster on this machine, and plan larger ones.

Costs are fitted from runs with one worker, and predict those with more by a simulation. All state
is under `var/bench/cluster`, and is made anew by each run.
"""

import argparse
import shutil
from pathlib import Path

from rich.console import Console

from benchmarks.cluster.measure import QUICK, Bench, Sizing
from benchmarks.cluster.measured import PlanCosts, Results
from benchmarks.cluster.model import prepare_home
from benchmarks.cluster.plan import plan_tables
from benchmarks.cluster.report import write_report
from benchmarks.cluster.servers import running_servers
from benchmarks.isolation import isolate
from tasks.common.settings import REPOSITORY, get_settings

_RESULTS = REPOSITORY / "benchmarks" / "results" / "cluster"


def main() -> None:
    """Measure and write results, or print the tables of a plan."""
    given = _arguments()
    if given.plan is not None:
        costs = PlanCosts.model_validate_json(given.plan.read_text(encoding="utf-8"))
        Console(soft_wrap=True).print("\n".join(plan_tables(costs)), markup=False, highlight=False)
        return
    folder = get_settings().root / "bench" / "cluster"
    isolate()
    shutil.rmtree(folder, ignore_errors=True)
    results = _measure(folder, given)
    output = folder if given.quick else given.output
    write_report(results, output, quick=given.quick)
    Console().print(output, soft_wrap=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", default="static", help="as of train_classifier")
    parser.add_argument(
        "--model-home", type=Path, help="a state folder whose champion is used; trains nothing"
    )
    parser.add_argument("--rows", type=int, default=Sizing.rows, help="rows of a run")
    parser.add_argument("--quick", action="store_true", help="few rows: shows that it works")
    parser.add_argument(
        "--output",
        type=Path,
        default=_RESULTS,
        help="folder of the results; of a quick run, the state folder",
    )
    parser.add_argument("--plan", type=Path, help="costs.json; prints the plan, measures nothing")
    given = parser.parse_args()
    if given.rows <= Sizing.coarse:
        parser.error(f"--rows: {given.rows}; expected more than a shard of {Sizing.coarse:,}")
    return given


def _measure(folder: Path, given: argparse.Namespace) -> Results:
    home = folder / "servers"
    prepare_home(home, given.model_home, given.base_model)
    sizing = QUICK if given.quick else Sizing(rows=given.rows)
    with running_servers(home) as servers:
        name = "the champion of --model-home" if given.model_home else given.base_model
        return Bench(folder, servers, sizing).results(name)


if __name__ == "__main__":
    main()
