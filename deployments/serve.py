"""Serve every flow from this machine, without a work pool: `python -m deployments.serve`.

It runs until it is interrupted; a Prefect server must be running, see `make prefect-ui`.
"""

from typing import Any

from prefect import Flow, serve
from prefect.deployments.runner import RunnerDeployment

from flows.build_inference_pipeline import build_inference_pipeline
from flows.clean_up import clean_up
from flows.end_to_end import end_to_end
from flows.explain_prediction import explain_prediction
from flows.promote_pipeline import promote_pipeline
from flows.prune_cache import prune_cache
from flows.score_shards import score_shards
from flows.train_classifier import train_classifier

FLOWS: tuple[Flow[..., Any], ...] = (
    train_classifier,
    build_inference_pipeline,
    promote_pipeline,
    score_shards,
    end_to_end,
    explain_prediction,
    prune_cache,
    clean_up,
)


def main() -> None:
    """Register a deployment of each flow and run what is asked for."""
    serve(*(RunnerDeployment.from_flow(flow, name="served") for flow in FLOWS))


if __name__ == "__main__":
    main()
