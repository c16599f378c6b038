"""Plan a registered pipeline once more, with other fine-tuned versions in the place of members."""

from collections.abc import Mapping
from pathlib import Path

from pyfunc.business.spec import RULES_FILE
from pyfunc.spec import business_folder
from tasks.building.build_records import PLAN
from tasks.business.types import BusinessPlan
from tasks.common.errors import ModelError
from tasks.common.files import published_file, sha256_of
from tasks.common.settings import get_settings
from tasks.composition.types import PipelinePlan, PlannedMember
from tasks.tracking import registry
from tasks.tracking.mlflow_client import downloaded_model_file, read_logged_json
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_members import rebuild_command

_ARTIFACT = Path("artifacts/pipeline")


def replan(pipeline: RegisteredModel, learnt: Mapping[str, RegisteredModel]) -> PipelinePlan:
    """Return the plan of a registered version, with other fine-tuned versions of some members.

    Its rules are those that it ships, whatever became of the file that they came from.

    Args:
        pipeline: The version.
        learnt: Versions of `dl_finetuned_model` by the names of their members, as `origins_of` of
            the version has them.

    Raises:
        ModelError: If it was built before plans were logged.
    """
    version = registry.get_version(pipeline.name, pipeline.version)
    logged = read_logged_json(str(version.run_id), PLAN)
    if logged is None:
        raise ModelError(
            f"{pipeline.uri}: was built before plans were logged; expected a version that "
            f"{rebuild_command(version)} builds now"
        )
    plan = PipelinePlan.model_validate(logged)
    members = dict(plan.members)
    for name, found in learnt.items():
        # A single member has a name of its own in a composition file, and none in the registry.
        place = next(iter(members)) if len(members) == 1 else name
        # An equal plan is the same build, and how its version was found makes it no other.
        inside = found.model_copy(update={"reused": False})
        members[place] = PlannedMember(**{**dict(members[place]), "finetuned": inside})
    business = plan.business
    if business is not None and business.rules_path is not None:
        business = _with_shipped_rules(pipeline.uri, business)
    # Errors name the version: its file has other members, and may be gone.
    changed = {"members": members, "business": business, "file": pipeline.uri}
    return plan.model_copy(update=changed)


def _with_shipped_rules(model_uri: str, business: BusinessPlan) -> BusinessPlan:
    shipped = business_folder(_ARTIFACT) / RULES_FILE
    with downloaded_model_file(model_uri, str(shipped)) as file:
        sha256 = sha256_of(file)
        kept = get_settings().replay / "rules" / f"{sha256}.py"
        with published_file(kept) as draft:
            draft.write_bytes(file.read_bytes())
    return business.model_copy(update={"rules_path": kept, "rules_sha256": sha256})
