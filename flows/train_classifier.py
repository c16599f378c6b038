"""Train a text classifier: download, split, fine-tune, evaluate, register."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.step_selection import Need, choose_steps
from tasks.common.console import print_table
from tasks.dataset.prefect_tasks import download_data, read_split, split_data
from tasks.dataset.types import LabelledData
from tasks.parameters import (
    BatchSize,
    Epochs,
    Fraction,
    LearningRate,
    NotNegative,
    Positive,
    Seed,
    Sha256,
    Source,
    Strategy,
    TokenLimit,
    TrainingStep,
)
from tasks.reports.prefect_tasks import report_training
from tasks.training.prefect_tasks import (
    evaluate_model,
    find_training_run,
    fine_tune_model,
    register_model,
)
from tasks.training.types import FineTuneParameters

STEPS = (
    "download_data",
    "split_data",
    "fine_tuning_model",
    "evaluate_model",
    "register_model",
)

NEEDS = (
    Need("split_data", produced_by="download_data", parameter="data_files"),
    Need("fine_tuning_model", produced_by="split_data", parameter="split_folder"),
    Need("evaluate_model", produced_by="fine_tuning_model", parameter="finetuned_run_id"),
    Need("register_model", produced_by="fine_tuning_model", parameter="finetuned_run_id"),
)


@flow(name="train-classifier")
def train_classifier(
    steps: list[TrainingStep] = ["all"],  # noqa: B006 -- forms show the default
    source: Source = "rotten_tomatoes",
    sha256: Sha256 | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: list[str] = [],  # noqa: B006
    validation_fraction: Fraction = 0.1,
    test_fraction: Fraction = 0.1,
    base_model: Source = "minilm",
    strategy: Strategy = "full",
    epochs: Epochs = 1,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = 5e-5,
    max_tokens: TokenLimit = 128,
    sample_size: NotNegative = 4_000,
    seed: Seed = 42,
    checkpoint_steps: Positive = 50,
    reuse: bool = True,
    data_files: list[str] = [],  # noqa: B006
    split_folder: str = "",
    finetuned_run_id: str = "",
) -> dict[str, Any]:
    """Fine-tune a transformer on labelled text and register it as dl_finetuned_model.

    Args:
        steps: The steps to run, in their order; all runs every one.
        source: rotten_tomatoes, imdb, a file or an http(s) URL: CSV, TSV, JSONL, Parquet or a
            zip of these.
        sha256: Expected SHA-256 of the file at source.
        text_column: Column of the texts; found by itself if it is called text or review.
        label_column: Column of the labels; found by itself if it is called label or sentiment.
        label_names: Labels in the order of their ids; rows may hold the names or the ids. Empty
            takes the labels found, sorted.
        validation_fraction: Share of the distinct texts whose loss is watched while training.
        test_fraction: Share of the distinct texts that measure the result.
        base_model: minilm (packaged), a Hugging Face id, or a folder.
        strategy: full trains all weights, freeze the classification head alone.
        epochs: Passes over the training rows.
        batch_size: Training rows a step.
        learning_rate: Highest step size of the linear schedule.
        max_tokens: Longer texts are cut to this many tokens.
        sample_size: Training rows to draw at most; 0 takes all.
        seed: Seed of everything random; the same seed gives the same numbers on one machine.
        checkpoint_steps: Steps between checkpoints; the most that a kill can lose.
        reuse: Take the model of an earlier run with equal data and parameters.
        data_files: The tables to start from, without the step download_data.
        split_folder: The split to start from, without the step split_data.
        finetuned_run_id: The MLflow run to start from, without the step fine_tuning_model.

    Returns:
        The report: ids, paths and figures of the steps that ran.
    """
    data = LabelledData(
        source=source,
        text_column=text_column,
        label_column=label_column,
        label_names=tuple(label_names),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )
    parameters = FineTuneParameters(
        base_model=base_model,
        strategy=strategy,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        sample_size=sample_size,
        seed=seed,
        checkpoint_steps=checkpoint_steps,
    )
    todo = choose_steps(
        steps,
        STEPS,
        NEEDS,
        {
            "data_files": data_files,
            "split_folder": split_folder,
            "finetuned_run_id": finetuned_run_id,
        },
    )
    report: dict[str, Any] = {}
    files = tuple(Path(file).expanduser().resolve() for file in data_files)
    if "download_data" in todo:
        files = download_data(source, sha256)
        report["data_files"] = [str(file) for file in files]
    if "split_data" in todo:
        split_folder = str(split_data(files, data).folder)
        report["split_folder"] = split_folder
    if "fine_tuning_model" in todo:
        fine_tuned = fine_tune_model(read_split(split_folder), parameters, reuse=reuse)
        report |= {"finetuned_run_id": fine_tuned.run_id, "reused": fine_tuned.reused}
    elif finetuned_run_id:
        fine_tuned = find_training_run(finetuned_run_id)
    if "evaluate_model" in todo:
        report |= evaluate_model(fine_tuned)
        report_training(fine_tuned)
    if "register_model" in todo:
        report["finetuned_model"] = register_model(fine_tuned).uri
    print_table("Trained classifier", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(train_classifier)
