"""Environment and log of a benchmark that runs flows in state folders of its own."""

import logging
import os


def isolate() -> None:
    """Leave nothing in the environment that would lead a command out of its state folder.

    What the benchmarks say is shown; of others, warnings alone.
    """
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME"):
        os.environ.pop(name, None)
    os.environ["MILLSTREAM_PROJECT"] = os.devnull
    # Prefect has set up the root logger when it was imported.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", force=True)
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    for name in ("tasks", "pyfunc"):  # they log a line for each call
        logging.getLogger(name).setLevel(logging.WARNING)
