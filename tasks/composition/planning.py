"""Plan a pipeline: versions and aliases become numbers, and labels are checked before any work."""

from pathlib import Path

from tasks.composition.composition_file import check_labels, read_composition
from tasks.composition.types import PipelinePlan, PlannedMember
from tasks.tracking.mlflow_client import connect, read_logged_json
from tasks.tracking.names import FINETUNED_MODEL, RegisteredModel
from tasks.tracking.registry import find_version
from tasks.training.logged_rows import SPLIT_FILE


def find_finetuned_model(reference: str, parameter: str) -> RegisteredModel:
    """Return the version of `dl_finetuned_model` with that number, alias or URI.

    Args:
        reference: The number, alias or URI.
        parameter: What has it, for errors.

    Raises:
        ParameterError: If there is no such version, or the reference has another form.
    """
    version = find_version(FINETUNED_MODEL, reference, parameter=parameter)
    return RegisteredModel(name=FINETUNED_MODEL, version=int(version.version))


def plan_composition(path: str) -> PipelinePlan:
    """Return the pipeline that a composition file describes.

    Raises:
        ParameterError: If the file is no composition, a member is no version, or the labels of
            members do not fit together.
    """
    composition = read_composition(Path(path))
    members: dict[str, PlannedMember] = {}
    for name, choice in composition.members.items():
        finetuned = find_finetuned_model(choice.model, f"{path}: members.{name}.model")
        shape = choice.model_dump(exclude={"model"})
        members[name] = PlannedMember(finetuned=finetuned, **shape)
    labels = {name: _logged_labels(member.finetuned) for name, member in members.items()}
    known = {name: found for name, found in labels.items() if found is not None}
    if len(known) == len(labels):  # of an older training, the build reads them from the weights
        check_labels(composition.answer, known, path)
    return PipelinePlan(
        kind="full",
        members=members,
        answer=composition.answer,
        detector=composition.detector,
    )


def _logged_labels(finetuned: RegisteredModel) -> list[str] | None:
    version = connect().get_model_version(finetuned.name, str(finetuned.version))
    split = read_logged_json(str(version.run_id), SPLIT_FILE)
    return None if split is None else [str(label) for label in split["labels"]]
