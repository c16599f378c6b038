"""A training without an engine, also in a process of its own, to be killed.

python -m tests.support.resumable reviews.csv tiny-base 10
"""

import sys
from pathlib import Path

import flows  # noqa: F401 -- prepares the process

# isort: split
from tasks.dataset.prefect_tasks import split_data
from tasks.dataset.types import LabelledData
from tasks.training.prefect_tasks import fine_tune_model
from tasks.training.types import FineTuneParameters


def fine_tune(data: Path, base: Path, *, checkpoint_steps: int = 10) -> str:
    """Train a tiny model for 90 steps, and return the id of its run.

    What goes on after a kill is the plain function.

    Args:
        data: Labelled rows.
        base: The folder of the base model.
        checkpoint_steps: Steps between two checkpoints.
    """
    split = split_data.fn((data,), LabelledData(source=str(data)))
    parameters = FineTuneParameters(
        base_model=str(base),
        epochs=6,
        min_steps=0,
        sample_size=0,
        max_tokens=32,
        checkpoint_steps=checkpoint_steps,
    )
    return str(fine_tune_model.fn(split, parameters, reuse=True).run_id)


if __name__ == "__main__":
    fine_tune(Path(sys.argv[1]), Path(sys.argv[2]), checkpoint_steps=int(sys.argv[3]))
