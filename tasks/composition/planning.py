"""Plan a pipeline: versions and aliases become numbers, and labels are checked before any work."""

from pathlib import Path

from pyfunc.composition.tree import deciders_of, has_open_thresholds
from pyfunc.tokens import read_config
from tasks.business.planning import plan_business
from tasks.business.types import PossibleAnswers
from tasks.common.errors import ParameterError
from tasks.composition.composition_file import check_labels, read_composition
from tasks.composition.gate_rows import load_gate_rows
from tasks.composition.types import (
    MemberParameters,
    PipelineParameters,
    PipelinePlan,
    PlannedMember,
)
from tasks.static_model.flavour import is_static_version
from tasks.tracking.mlflow_client import connect, downloaded_model_file, read_logged_json
from tasks.tracking.names import FINETUNED_MODEL, RegisteredModel
from tasks.tracking.registry import find_version
from tasks.training.logged_rows import SPLIT_FILE

# What a static model takes of the engines and precisions.
_OF_A_STATIC_MODEL = {"engine": ("auto",), "precision": ("auto", "f32")}


def plan_pipeline(reference: str, parameters: PipelineParameters) -> PipelinePlan:
    """Return the pipeline of a single version of `dl_finetuned_model`.

    Args:
        reference: The number, alias or URI of the version.
        parameters: What shapes the pipeline.

    Raises:
        ModelError: If the files of the version are gone.
        ParameterError: If there is no such version, it is a static model, which does not have the
            engine or precision, or it reads fewer tokens than it is to.
    """
    finetuned = _find_finetuned_model(reference, "finetuned_model")
    _check_shape(finetuned, parameters)
    return PipelinePlan.of(finetuned, parameters)


def plan_composition(path: str) -> PipelinePlan:
    """Return the pipeline that a composition file describes.

    Raises:
        ModelError: If the files of a version are gone.
        ParameterError: If the file is no composition, a member is no version, is a static model,
            which does not have its engine or precision, or reads fewer tokens than it is to; or if
            the labels of members do not fit together, or there are too few rows for a threshold
            that the build is to choose; or if look-ups or rules do not pass their checks.
    """
    composition = read_composition(Path(path))
    members: dict[str, PlannedMember] = {}
    for name, choice in composition.members.items():
        place = f"{path}: members.{name}."
        finetuned = _find_finetuned_model(choice.model, f"{place}model")
        _check_shape(finetuned, choice, place)
        shape = choice.model_dump(exclude={"model"})
        members[name] = PlannedMember(finetuned=finetuned, **shape)
    labels = {name: _logged_labels(member.finetuned) for name, member in members.items()}
    known = {name: found for name, found in labels.items() if found is not None}
    if len(known) == len(labels):  # of an older training, the build reads them from the weights
        check_labels(composition.answer, known, path)
    if has_open_thresholds(composition.answer):
        runs = {name: _training_run(member.finetuned) for name, member in members.items()}
        load_gate_rows(composition.answer, runs, path)
    deciders = deciders_of(composition.answer)
    answers = dict.fromkeys(
        label for name, found in known.items() if name in deciders for label in found
    )
    possible = PossibleAnswers(
        labels=tuple(answers) or ("label",),
        deciders=() if isinstance(composition.answer, str) else tuple(sorted(deciders)),
    )
    return PipelinePlan(
        kind="full",
        members=members,
        answer=composition.answer,
        detector=composition.detector,
        business=plan_business(composition, Path(path), possible),
        file=path,
    )


def _find_finetuned_model(reference: str, parameter: str) -> RegisteredModel:
    version = find_version(FINETUNED_MODEL, reference, parameter=parameter)
    return RegisteredModel(name=FINETUNED_MODEL, version=int(version.version))


def _check_shape(finetuned: RegisteredModel, shape: MemberParameters, place: str = "") -> None:
    """Refuse what a member does not have, by its place in a file; the build checks the rest."""
    others = {
        name: allowed
        for name, allowed in _OF_A_STATIC_MODEL.items()
        if getattr(shape, name) not in allowed
    }
    if not others and not shape.max_tokens:
        return
    if not is_static_version(finetuned.uri):
        _check_positions(finetuned, shape.max_tokens, place)
        return
    for name, allowed in others.items():
        raise ParameterError(
            f"{place}{name}: {getattr(shape, name)!r}; expected {' or '.join(allowed)}, since "
            f"{finetuned.uri} is a static model, which numpy computes in f32"
        )


def _check_positions(finetuned: RegisteredModel, max_tokens: int, place: str) -> None:
    """Refuse more tokens than a transformer has positions for."""
    with downloaded_model_file(finetuned.uri, "model/config.json") as file:
        most = read_config(file.parent, file.name).get("max_position_embeddings")
    if most and max_tokens > most:
        raise ParameterError(
            f"{place}max_tokens: {max_tokens}; expected {most} at most, the positions of "
            f"{finetuned.uri}"
        )


def _training_run(finetuned: RegisteredModel) -> str:
    version = connect().get_model_version(finetuned.name, str(finetuned.version))
    return str(version.run_id)


def _logged_labels(finetuned: RegisteredModel) -> list[str] | None:
    split = read_logged_json(_training_run(finetuned), SPLIT_FILE)
    return None if split is None else [str(label) for label in split["labels"]]
