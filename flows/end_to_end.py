"""Run all steps, or some: data, fine-tuning, registration, pipeline, scores."""

from collections.abc import Mapping
from typing import Annotated, Any

from prefect import flow

from flows.build_inference_pipeline import PIPELINE, build_inference_pipeline
from flows.parameters import arguments_for, described, form, record_from
from flows.project_defaults import READING, SOURCE
from flows.run_requests import (
    EndToEndRequest,
    EndToEndSteps,
    FinetunedModelToStartFrom,
    InputsOrHeldOut,
)
from flows.score_shards import OPTIONS, score_shards
from flows.train_classifier import DATA, TUNING, train_classifier
from tasks.cluster.addresses import check_shared_services
from tasks.common.errors import OutputInUseError
from tasks.common.parameter_types import about
from tasks.common.settings import get_settings
from tasks.common.task_errors import reporting_failures
from tasks.composition import types as plans
from tasks.dataset import types as dataset
from tasks.dataset.prefect_tasks import read_split, write_held_out_rows
from tasks.ingestion import text_format
from tasks.output.folder import resolve_output_folder
from tasks.output.place import output_place
from tasks.reports.summaries import print_overview
from tasks.scoring import types as scoring
from tasks.scoring.success import cancelled_state
from tasks.training import types as training

# Each step's counterpart in train_classifier.
TRAINING_STEPS = {
    "download_data": ["download_data"],
    "fine_tuning_model": ["split_data", "fine_tuning_model", "evaluate_model"],
    "register_model": ["register_model"],
}

ScoredFolder = Annotated[
    str,
    output_place("output_dir"),
    about("Folder of the scores; empty takes scored/end-to-end in the state folder."),
]


@reporting_failures
@form(
    "source",
    "text_column",
    "label_column",
    "inputs",
    "output_dir",
    last=(
        "steps",
        "sha256",
        "batch_size",
        "learning_rate",
        "seed",
        "pipeline",
        "engine",
        "precision",
        "held_out_shards",
        "use_cache",
        "workers",
        "data_files",
        "finetuned_run_id",
        "finetuned_model",
        "separator",
        "encoding",
        "header",
    ),
)
@flow(name="end-to-end")
@described
def end_to_end(
    steps: EndToEndSteps = ("all",),
    source: dataset.DataSource = SOURCE,
    sha256: dataset.Sha256 = None,
    text_column: dataset.TextColumn = DATA.text_column,
    label_column: dataset.LabelColumn = DATA.label_column,
    label_names: dataset.LabelNames = DATA.label_names,
    base_model: training.BaseModelName = TUNING.base_model,
    strategy: training.Strategy = TUNING.strategy,
    epochs: training.Epochs = TUNING.epochs,
    batch_size: training.BatchSize = TUNING.batch_size,
    learning_rate: training.LearningRate = TUNING.learning_rate,
    max_tokens: training.TokenLimit = TUNING.max_tokens,
    sample_size: training.SampleSize = TUNING.sample_size,
    seed: training.Seed = TUNING.seed,
    pipeline: plans.PipelineKindChoice = PIPELINE.pipeline,
    engine: plans.EngineChoice = PIPELINE.engine,
    precision: plans.PrecisionChoice = PIPELINE.precision,
    inputs: InputsOrHeldOut = (),
    held_out_shards: dataset.HeldOutShards = 8,
    output_dir: ScoredFolder = "",
    model_uri: scoring.ModelUri = OPTIONS.model_uri,
    use_cache: scoring.UseCache = OPTIONS.use_cache,
    workers: scoring.Workers = OPTIONS.workers,
    data_files: dataset.DataFiles = (),
    finetuned_run_id: training.FinetunedRunId = "",
    finetuned_model: FinetunedModelToStartFrom = "",
    min_steps: training.MinSteps = TUNING.min_steps,
    class_weights: training.ClassWeights = TUNING.class_weights,
    separator: text_format.Separator = READING.separator,
    encoding: text_format.Encoding = READING.encoding,
    header: text_format.Header = READING.header,
) -> dict[str, Any]:
    """Go from labelled text to scored files, or run any part of that way.

    Returns:
        The reports of the steps that ran; or, if another run holds the output folder, the state
        of a cancelled run.
    """
    given = locals()
    todo = record_from(EndToEndRequest, given).todo
    folder = output_dir or str(get_settings().scored / "end-to-end")
    if "score" in todo:
        resolve_output_folder(folder)
        check_shared_services("")
    report: dict[str, Any] = {}
    training_steps = [name for step in todo for name in TRAINING_STEPS.get(step, [])]
    if training_steps:
        report |= train_classifier(
            **arguments_for(train_classifier, given) | {"steps": training_steps}
        )
    if "inference_pipeline_model" in todo:
        wrapped = {
            "finetuned_model": report.get("finetuned_model") or finetuned_model,
            "max_tokens": PIPELINE.max_tokens,  # as many as in the training
        }
        report |= build_inference_pipeline(
            **arguments_for(build_inference_pipeline, given) | wrapped
        )
    if "score" in todo:
        scored: dict[str, Any] = {
            "output_dir": folder,
            "text_column": text_column or "text",
            "label_column": None,
        }
        if not inputs:
            split = read_split(report["split_folder"])
            held_out = write_held_out_rows(split, held_out_shards)
            scored |= {"inputs": [held_out], "text_column": "text"} | dict(text_format.AS_FOUND)
        try:
            report |= score_shards(**arguments_for(score_shards, given) | scored)
        except OutputInUseError as error:
            return cancelled_state(error)
    print_overview(report)
    return report


def check_services(parameters: Mapping[str, Any]) -> None:
    """Check what MILLSTREAM_RUNNER needs, before a server is started for the run.

    Args:
        parameters: Those that are given.

    Raises:
        ParameterError: If a cluster is to score, and does not reach the servers.
    """
    if "score" in record_from(EndToEndRequest, parameters).todo:
        check_shared_services("")


if __name__ == "__main__":
    from flows.command_line import run

    run(
        end_to_end,
        request=EndToEndRequest,
        check=check_services,
        continues="from the last checkpoint, or with the shards that are left",
    )
