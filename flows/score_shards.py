"""Score files with a registered pipeline, a shard each, and publish Parquet."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from tasks.parameters import Positive, Workers
from tasks.scoring import (
    ScoringParameters,
    find_shards,
    output_folder,
    publish_summary,
    raise_if_failed,
    resolve_model,
    score_in_parallel,
)


@flow(name="score-shards")
def score_shards(
    inputs: list[str],
    output_dir: str,
    model_uri: str = "models:/inference_pipeline_model@champion",
    text_column: str = "text",
    use_cache: bool = True,
    batch_tokens: Positive = 1_024,
    workers: Workers = 2,
) -> dict[str, Any]:
    """Score shard after shard of files and publish their predictions.

    Args:
        inputs: Files, folders or glob patterns of CSV, TSV, JSONL or Parquet files.
        output_dir: Folder that gets predictions/, rejected/ and manifest.json.
        model_uri: The pipeline: models:/NAME@ALIAS or models:/NAME/VERSION.
        text_column: Column of the texts.
        use_cache: Whether answers are looked up in the prediction cache and stored there.
        batch_tokens: Padded tokens that go through the transformer at once, at most.
        workers: Shards that are scored at the same time.

    Returns:
        The summary: rows, cache hits, model calls, shards, labels and languages.
    """
    started = datetime.now(UTC)
    folder = output_folder(output_dir)
    parameters = ScoringParameters(
        model_uri=resolve_model(model_uri),
        output_dir=folder,
        text_column=text_column,
        use_cache=use_cache,
        batch_tokens=batch_tokens,
    )
    shards = find_shards(tuple(inputs))
    results = score_in_parallel(shards, parameters, workers)
    summary = publish_summary(parameters, results, started)
    raise_if_failed(summary)
    return summary


if __name__ == "__main__":
    from flows.command_line import run

    run(score_shards)
