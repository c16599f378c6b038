"""The whole way, or any part of it: data, fine-tuning, registration, pipeline, scores."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.build_inference_pipeline import build_inference_pipeline
from flows.score_shards import score_shards
from flows.step_selection import Need, choose_steps
from flows.train_classifier import train_classifier
from tasks.building.types import EngineChoice, PipelineParameters, PrecisionChoice
from tasks.common.errors import OutputInUseError, ParameterError
from tasks.common.settings import get_settings
from tasks.dataset.prefect_tasks import read_split, write_held_out_rows
from tasks.output.folder import output_folder
from tasks.parameters import (
    BatchSize,
    EndToEndStep,
    Epochs,
    HeldOutShards,
    Kind,
    LearningRate,
    NotNegative,
    Seed,
    Sha256,
    Source,
    Strategy,
    TokenLimit,
    Workers,
)
from tasks.reports.summaries import print_overview
from tasks.scoring.inputs import check_given
from tasks.scoring.success import cancelled
from tasks.tracking.names import parse_pipeline_reference

STEPS = (
    "download_data",
    "fine_tuning_model",
    "register_model",
    "inference_pipeline_model",
    "score",
)

NEEDS = (
    Need("fine_tuning_model", produced_by="download_data", parameter="data_files"),
    Need("register_model", produced_by="fine_tuning_model", parameter="finetuned_run_id"),
    Need("inference_pipeline_model", produced_by="register_model", parameter="finetuned_model"),
)

# Each step's counterpart in train_classifier.
TRAINING_STEPS = {
    "download_data": ["download_data"],
    "fine_tuning_model": ["split_data", "fine_tuning_model", "evaluate_model"],
    "register_model": ["register_model"],
}


@flow(name="end-to-end")
def end_to_end(
    steps: list[EndToEndStep] = ["all"],  # noqa: B006 -- forms show the default
    source: Source = "rotten_tomatoes",
    sha256: Sha256 | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: list[str] = [],  # noqa: B006
    base_model: Source = "minilm",
    strategy: Strategy = "full",
    epochs: Epochs = 1,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = 5e-5,
    max_tokens: TokenLimit = 128,
    sample_size: NotNegative = 4_000,
    seed: Seed = 42,
    pipeline: Kind = "full",
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    inputs: list[Source] = [],  # noqa: B006
    held_out_shards: HeldOutShards = 8,
    output_dir: str = "",
    model_uri: str = "models:/inference_pipeline_model@champion",
    use_cache: bool = True,
    workers: Workers = 0,
    data_files: list[str] = [],  # noqa: B006
    finetuned_run_id: str = "",
    finetuned_model: str = "",
) -> dict[str, Any]:
    """Go from labelled text to scored files, or run any part of that way.

    Args:
        steps: The steps to run, in their order; all runs every one.
        source: rotten_tomatoes, imdb, a file or an http(s) URL: CSV, TSV, JSONL, Parquet or a
            zip of these.
        sha256: Expected SHA-256 of the file at source.
        text_column: Column of the texts; found by itself if it is called text or review.
        label_column: Column of the labels; found by itself if it is called label or sentiment.
        label_names: Labels in the order of their ids; rows may hold the names or the ids. Empty
            takes the labels found, sorted.
        base_model: minilm (packaged), a Hugging Face id, or a folder.
        strategy: full trains all weights, freeze the classification head alone.
        epochs: Passes over the training rows.
        batch_size: Training rows a step.
        learning_rate: Highest step size of the linear schedule.
        max_tokens: Longer texts are cut to this many tokens.
        sample_size: Training rows to draw at most; 0 takes all.
        seed: Seed of everything random; the same seed gives the same numbers on one machine.
        pipeline: full has all five steps, plain is the classifier without what is around it.
        engine: What computes the transformer; auto takes the fastest that the machine supports
            and that answers as the fine-tuned model does.
        precision: Number format of its matrix products; auto takes bf16 where that answers alike,
            else f32. int8 is faster still, and differs in a label or so of a hundred.
        inputs: Files, folders or glob patterns to score; empty scores the held-out test rows.
        held_out_shards: Files that the held-out rows are written to.
        output_dir: Folder of the scores; empty takes scored/end-to-end in the state folder.
        model_uri: The version of inference_pipeline_model to score with: a number, an alias, or a
            URI.
        use_cache: Whether answers are looked up in the prediction cache, shared by equal rows, and
            stored there.
        workers: Shards that are scored at the same time; 0 takes one a core, up to eight.
        data_files: The tables to start from, without the step download_data.
        finetuned_run_id: The MLflow run to start from, without the step fine_tuning_model.
        finetuned_model: Version of dl_finetuned_model to start from, without the step
            register_model: a number, an alias, a URI, or latest.

    Returns:
        The reports of the steps that ran; or, if another run holds the output folder, the state
        of a cancelled run.
    """
    todo = check_parameters(
        steps=steps,
        data_files=data_files,
        finetuned_run_id=finetuned_run_id,
        finetuned_model=finetuned_model,
        inputs=inputs,
        model_uri=model_uri,
        pipeline=pipeline,
        engine=engine,
        precision=precision,
    )
    folder = output_dir or str(get_settings().scored / "end-to-end")
    if "score" in todo:
        output_folder(folder)
    report: dict[str, Any] = {}
    training_steps: list[Any] = [name for step in todo for name in TRAINING_STEPS.get(step, [])]
    if training_steps:
        report |= train_classifier(
            steps=training_steps,
            source=source,
            sha256=sha256,
            text_column=text_column,
            label_column=label_column,
            label_names=label_names,
            base_model=base_model,
            strategy=strategy,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            sample_size=sample_size,
            seed=seed,
            data_files=data_files,
            finetuned_run_id=finetuned_run_id,
        )
    if "inference_pipeline_model" in todo:
        report |= build_inference_pipeline(
            finetuned_model=report.get("finetuned_model") or finetuned_model,
            pipeline=pipeline,
            engine=engine,
            precision=precision,
        )
    if "score" in todo:
        if not inputs:
            split = read_split(report["split_folder"])
            inputs = [write_held_out_rows(split, held_out_shards)]
            text_column = "text"
        try:
            report |= score_shards(
                inputs=inputs,
                output_dir=folder,
                model_uri=model_uri,
                text_column=text_column or "text",
                use_cache=use_cache,
                workers=workers,
            )
        except OutputInUseError as error:
            return cancelled(error)
    print_overview(report)
    return report


def check_parameters(
    steps: Sequence[EndToEndStep],
    data_files: Sequence[str],
    finetuned_run_id: str,
    finetuned_model: str,
    inputs: Sequence[str],
    model_uri: str,
    pipeline: Kind,
    engine: EngineChoice,
    precision: PrecisionChoice,
) -> tuple[str, ...]:
    """Check what steps need of each other, before the first of them starts, and return them.

    Raises:
        ParameterError: If a step has nothing to start from, parameters do not go together, or one
            means nothing.
    """
    given = {
        "data_files": data_files,
        "finetuned_run_id": finetuned_run_id,
        "finetuned_model": finetuned_model,
    }
    todo = choose_steps(steps, STEPS, NEEDS, given)
    PipelineParameters(engine=engine, precision=precision, pipeline=pipeline)
    if "score" not in todo:
        return todo
    parse_pipeline_reference(model_uri)
    if inputs:
        check_given(inputs)
    elif "fine_tuning_model" not in todo:
        raise ParameterError("inputs: missing; the step score without fine_tuning_model needs them")
    if pipeline == "plain":
        raise ParameterError(
            "pipeline: plain answers with bare labels, which the step score cannot use; "
            "expected full, or steps without score"
        )
    return todo


if __name__ == "__main__":
    from flows.command_line import run

    run(end_to_end)
