"""Train a text classifier: download, split, fine-tune, register, evaluate."""

from typing import Annotated, Any, get_args

from prefect import flow

from flows.parameters import described, form, record_from
from flows.project_defaults import READING, SOURCE, with_project
from flows.run_requests import TrainingStep, TrainingSteps
from flows.step_selection import Need, choose_steps
from tasks.common.console import print_table
from tasks.common.parameter_types import about
from tasks.common.task_errors import reporting_failures
from tasks.dataset import types as dataset
from tasks.dataset.prefect_tasks import download_data, read_split, split_data
from tasks.ingestion import text_format
from tasks.reports.prefect_tasks import missing_files, report_training
from tasks.training import types as training
from tasks.training.prefect_tasks import (
    evaluate_model,
    find_training_run,
    fine_tune_model,
    register_model,
)

NEEDS = (
    Need("split_data", produced_by="download_data", parameter="data_files"),
    Need("fine_tuning_model", produced_by="split_data", parameter="split_folder"),
    Need("evaluate_model", produced_by="fine_tuning_model", parameter="finetuned_run_id"),
    Need("register_model", produced_by="fine_tuning_model", parameter="finetuned_run_id"),
)

Reuse = Annotated[bool, about("Take the model of an earlier run with equal data and parameters.")]

DATA, TUNING = with_project(dataset.LabelledData), with_project(training.FineTuneParameters)


@reporting_failures
@form(
    "source",
    "text_column",
    "label_column",
    "label_names",
    "base_model",
    last=(
        "steps",
        "sha256",
        "validation_fraction",
        "test_fraction",
        "batch_size",
        "learning_rate",
        "seed",
        "checkpoint_steps",
        "teacher",
        "reuse",
        "data_files",
        "split_folder",
        "finetuned_run_id",
        "separator",
        "encoding",
        "header",
    ),
)
@flow(name="train-classifier")
@described
def train_classifier(
    steps: TrainingSteps = ("all",),
    source: dataset.DataSource = SOURCE,
    sha256: dataset.Sha256 = None,
    text_column: dataset.TextColumn = DATA.text_column,
    label_column: dataset.LabelColumn = DATA.label_column,
    label_names: dataset.LabelNames = DATA.label_names,
    validation_fraction: dataset.ValidationFraction = DATA.validation_fraction,
    test_fraction: dataset.TestFraction = DATA.test_fraction,
    base_model: training.BaseModelName = TUNING.base_model,
    strategy: training.Strategy = TUNING.strategy,
    epochs: training.Epochs = TUNING.epochs,
    batch_size: training.BatchSize = TUNING.batch_size,
    learning_rate: training.LearningRate = TUNING.learning_rate,
    max_tokens: training.TokenLimit = TUNING.max_tokens,
    sample_size: training.SampleSize = TUNING.sample_size,
    seed: training.Seed = TUNING.seed,
    checkpoint_steps: training.CheckpointSteps = TUNING.checkpoint_steps,
    reuse: Reuse = True,
    data_files: dataset.DataFiles = (),
    split_folder: dataset.SplitFolder = "",
    finetuned_run_id: training.FinetunedRunId = "",
    min_steps: training.MinSteps = TUNING.min_steps,
    class_weights: training.ClassWeights = TUNING.class_weights,
    teacher: training.Teacher = TUNING.teacher,
    separator: text_format.Separator = READING.separator,
    encoding: text_format.Encoding = READING.encoding,
    header: text_format.Header = READING.header,
) -> dict[str, Any]:
    """Train a classifier on labelled text and register it as dl_finetuned_model.

    Returns:
        The report: ids, paths and metrics of the steps that ran.
    """
    given = locals()
    data = record_from(dataset.LabelledData, given)
    reading = record_from(text_format.ReadOptions, given)
    tuning = record_from(training.FineTuneParameters, given)
    todo = choose_steps(steps, get_args(TrainingStep)[1:], NEEDS, given)
    report: dict[str, Any] = {}
    files = dataset.resolve_data_files(data_files)
    if "download_data" in todo:
        files = download_data(source, sha256, encoding)
        report["data_files"] = [str(file) for file in files]
    if "split_data" in todo:
        split = split_data(files, data, reading, keep_unlabelled=bool(tuning.teacher))
        split_folder = str(split.folder)
        report |= {"split_folder": split_folder, **split.row_counts}
    if "fine_tuning_model" in todo:
        fine_tuned = fine_tune_model(read_split(split_folder), tuning, reuse=reuse)
        report |= fine_tuned.summary()
    elif finetuned_run_id:
        fine_tuned = find_training_run(finetuned_run_id)
    # First: whatever happens to the evaluation, the model is there.
    if "register_model" in todo:
        report["finetuned_model"] = register_model(fine_tuned).uri
    if "evaluate_model" in todo:
        evaluation = evaluate_model(fine_tuned)
        reported = report_training(fine_tuned, evaluation.missing, return_state=True)
        report |= evaluation.summary() | missing_files(evaluation.missing, reported)
    print_table("Trained classifier", report)
    return report


if __name__ == "__main__":
    from flows.command_line import run

    run(train_classifier, continues="from the last checkpoint")
