"""The two versions of a comparison, and the texts that their trainings used."""

from tasks.common.errors import ParameterError
from tasks.tracking import registry
from tasks.tracking.names import CHALLENGER, PIPELINE_MODEL, RegisteredModel
from tasks.tracking.pipeline_members import origins_of
from tasks.training.logged_rows import load_used_digests


def find_pair(present: str, other: str) -> tuple[RegisteredModel, RegisteredModel] | None:
    """Return the two versions that references name.

    None if the other is `challenger` and no version is, as after a promotion.

    Raises:
        ParameterError: If one is not there, is plain, or if both are the same.
    """
    champion = _find("champion", present)
    if other == CHALLENGER and other not in registry.get_aliases(PIPELINE_MODEL):
        return None
    challenger = _find("challenger", other)
    if champion == challenger:
        raise ParameterError(
            f"challenger: {other!r} and champion {present!r} are both {champion.uri}; expected two "
            "versions"
        )
    return champion, challenger


def _find(parameter: str, reference: str) -> RegisteredModel:
    version = registry.find_version(PIPELINE_MODEL, reference, parameter=parameter)
    if version.tags.get("kind") == "plain":
        raise ParameterError(
            f"{parameter}: version {version.version} is plain; expected a full pipeline"
        )
    return RegisteredModel(name=PIPELINE_MODEL, version=int(version.version))


def digests_used_by(*versions: RegisteredModel) -> frozenset[str] | None:
    """Return the digests of the texts that versions were trained or validated on.

    None if a training of before logged not all of them.
    """
    return load_used_digests(
        origin.training_run_id
        for version in versions
        for origin in origins_of(registry.get_version(version.name, version.version)).values()
    )
