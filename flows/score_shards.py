"""Score files with a registered pipeline, shard after shard, and publish Parquet."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from tasks.common.errors import OutputInUseError, ParameterError
from tasks.output.folder import output_folder, sole_user
from tasks.output.language_policy import LanguagePolicy
from tasks.output.records import RowParameters
from tasks.parameters import (
    BatchTokens,
    Examples,
    NotNegative,
    OutputFolder,
    Policy,
    Probability,
    ShardRows,
    Source,
    Workers,
)
from tasks.reports.prefect_tasks import link_scoring_report, log_to_mlflow, logged_run
from tasks.scoring.inputs import check_given, downloads_removed
from tasks.scoring.planning import clear_leftovers
from tasks.scoring.prefect_tasks import (
    find_inputs,
    identify_model,
    plan_shards,
    prove_complete,
    publish_summary,
    report_dry_run,
)
from tasks.scoring.success import cancelled, raise_if_failed, raise_if_unrecorded
from tasks.scoring.task_runner import default_workers, score_in_parallel, survey_in_parallel
from tasks.scoring.types import ScoringParameters
from tasks.tracking.names import parse_pipeline_reference


@flow(name="score-shards")
def score_shards(
    inputs: list[Source],
    output_dir: OutputFolder,
    model_uri: str = "models:/inference_pipeline_model@champion",
    text_column: str = "text",
    label_column: str | None = None,
    shard_rows: ShardRows = 2_000,
    language_policy: Policy = "score",
    languages: list[str] = [],  # noqa: B006 -- forms show the default
    language_threshold: Probability = 0.7,
    use_cache: bool = True,
    settle_seconds: NotNegative = 0,
    allow_empty: bool = False,
    resume: bool = True,
    only_failed: bool = False,
    dry_run: bool = False,
    max_failed_shards: NotNegative = 0,
    max_rejected_fraction: Probability = 1.0,
    batch_tokens: BatchTokens = DEFAULT_BATCH_TOKENS,
    workers: Workers = 0,
    report_examples: Examples = 3,
) -> dict[str, Any]:
    """Score shard after shard of files and publish their predictions, each row once.

    Args:
        inputs: Files, folders, glob patterns or http(s) URLs of CSV, TSV, JSONL or Parquet
            files, plain or with .gz or .zst.
        output_dir: Folder that gets predictions/, rejected/, records/ and manifest.json.
        model_uri: The version of inference_pipeline_model: a number, an alias, or a URI.
        text_column: Column of the texts.
        label_column: Column of the true labels, if there is one; the summary tells the accuracy.
        shard_rows: Rows of a shard at most; a larger file is cut into several.
        language_policy: What becomes of rows in none of the languages: score them like others,
            flag them in a column language_flagged, or reject them.
        languages: The languages that the model is meant for, as gcld3 reports them.
        language_threshold: Least probability at which a detected language is believed.
        use_cache: Whether answers are looked up in the prediction cache, shared by equal rows, and
            stored there.
        settle_seconds: Files that changed within the last so many seconds are left for the next
            run, since someone may still be writing them.
        allow_empty: Whether a folder or pattern that brings no file is no error.
        resume: Whether shards that are done, from the same input, model and parameters, are
            skipped.
        only_failed: Whether to score just the shards that failed in the run before, or have
            rejected rows.
        dry_run: Whether to read the input and tell what a run would do, with no output at all.
        max_failed_shards: Shards that may fail before the run counts as failed.
        max_rejected_fraction: Share of the rows that may be rejected before it does.
        batch_tokens: Padded tokens that go through the transformer at once, at most.
        workers: Shards that are scored at the same time; 0 takes one a core, up to eight.
        report_examples: Rejected rows quoted in the report, for each reason; 0 quotes none.

    Returns:
        The summary: rows, shards, model calls made and avoided, labels, languages, rejects; or,
        if another run holds the output folder, the state of a cancelled run.
    """
    started = datetime.now(UTC)
    language = check_parameters(
        inputs=inputs,
        model_uri=model_uri,
        language_policy=language_policy,
        languages=languages,
        language_threshold=language_threshold,
        resume=resume,
        only_failed=only_failed,
    )
    folder = output_folder(output_dir)
    rows = RowParameters(
        text_column=text_column, label_column=label_column or None, language=language
    )
    sole = nullcontext() if dry_run else sole_user(folder, flow_run.name or "score-shards")
    try:
        with sole, downloads_removed(folder):
            found = find_inputs(
                tuple(inputs), folder, settle_seconds=settle_seconds, allow_empty=allow_empty
            )
            parameters = ScoringParameters(
                model=identify_model(model_uri),
                output_dir=folder,
                rows=rows,
                shard_rows=shard_rows,
                use_cache=use_cache,
                batch_tokens=batch_tokens,
                workers=workers or default_workers(),
                resume=resume,
                only_failed=only_failed,
                flow_run_id=flow_run.id or "",
            )
            surveys = survey_in_parallel(found.files, parameters)
            planned = plan_shards(surveys, parameters)
            if dry_run:
                return report_dry_run(surveys, planned, parameters)
            clear_leftovers(planned, folder)
            outcomes = score_in_parallel(surveys, planned, parameters)
            prove_complete(surveys, outcomes, parameters)
            summary = publish_summary(parameters, found, outcomes, started)
            logged = log_to_mlflow(
                parameters,
                summary,
                outcomes,
                started=started,
                examples=report_examples,
                return_state=True,
            )
    except OutputInUseError as error:
        return cancelled(error)
    link_scoring_report(summary, logged_run(logged))
    raise_if_failed(
        summary,
        max_failed_shards=max_failed_shards,
        max_rejected_fraction=max_rejected_fraction,
    )
    raise_if_unrecorded(logged)
    return summary


def check_parameters(
    inputs: Sequence[str],
    model_uri: str,
    language_policy: Policy,
    languages: Sequence[str],
    language_threshold: float,
    resume: bool,
    only_failed: bool,
) -> LanguagePolicy:
    """Check what can be told without the files and the registry, and return the language policy.

    Raises:
        ParameterError: If parameters do not go together, or one means nothing.
    """
    check_given(inputs)
    parse_pipeline_reference(model_uri)
    if only_failed and not resume:
        raise ParameterError("only_failed: goes on from the run before; expected resume as well")
    return LanguagePolicy(
        policy=language_policy, languages=tuple(languages), threshold=language_threshold
    )


if __name__ == "__main__":
    from flows.command_line import run

    run(score_shards)
