"""All flows."""

from typing import Any

from prefect import Flow

from flows.build_inference_pipeline import build_inference_pipeline
from flows.clean_up import clean_up
from flows.compare_pipelines import compare_pipelines
from flows.compare_shadow import compare_shadow
from flows.end_to_end import end_to_end
from flows.explain_prediction import explain_prediction
from flows.learn_from_feedback import learn_from_feedback
from flows.promote_pipeline import promote_pipeline
from flows.prune_cache import prune_cache
from flows.score_shards import score_shards
from flows.train_classifier import train_classifier
from flows.watch_champion import watch_champion

FLOWS: tuple[Flow[..., Any], ...] = (
    train_classifier,
    build_inference_pipeline,
    promote_pipeline,
    score_shards,
    end_to_end,
    explain_prediction,
    prune_cache,
    clean_up,
    compare_pipelines,
    compare_shadow,
    watch_champion,
    learn_from_feedback,
)
