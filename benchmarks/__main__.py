"""`python -m benchmarks`: measure, and write results, tables and plots."""

import argparse
import logging
import os
import sys
from pathlib import Path

from benchmarks.plan import PARTS, QUICK, Plan

_REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the parts that the command line names."""
    parser = _parser()
    options = parser.parse_args()
    if (options.quick or options.parts) and not options.output:
        parser.error("a run that is not whole does not replace one that is; expected --output")
    home = options.home.resolve()
    _set_up(home)
    # These modules read the environment at import.
    from benchmarks.plots import write_plots
    from benchmarks.report import write_report
    from benchmarks.suite import run

    plan = QUICK if options.quick else Plan()
    results = run(plan, home, parts=options.parts or plan.parts, quick=options.quick)
    folder = options.output or _REPOSITORY / "benchmarks" / "results" / results.device
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder)
    write_report(results, folder)
    write_plots(results, folder)
    sys.stdout.write(f"{folder / 'results.md'}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    home = _REPOSITORY / "var" / "bench"
    parser.add_argument("--quick", action="store_true", help="few rows, one round, no growth")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--home", type=Path, default=home, help="state folder, with the models")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="what to measure")
    return parser


def _set_up(home: Path) -> None:
    """Keep all state of this process and its children under `home`."""
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME"):
        os.environ.pop(name, None)
    os.environ["MILLSTREAM_HOME"] = str(home)
    os.environ["MILLSTREAM_PROJECT"] = os.devnull
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    from tasks.common.environment import prepare_process
    from tasks.project.project import server_variables

    prepare_process(server_variables)
    for name in ("tasks", "pyfunc"):  # they log a line for each call
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
