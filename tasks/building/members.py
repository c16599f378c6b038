"""Build the members of a pipeline into its artifact, with the engines that pass their gates."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyfunc.classifier import read_labels
from pyfunc.fingerprint import digest_folder
from pyfunc.spec import MemberSpec, Variant, member_folder
from pyfunc.static.model import is_static
from tasks.building.quality_gates import STATIC_VARIANT, Gatekeeper, candidate_variants
from tasks.building.types import Gate
from tasks.common.errors import ModelError
from tasks.composition.types import PipelinePlan, PlannedMember
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import RegisteredModel
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of, temperature_of
from tasks.training.logged_rows import load_check_rows


@dataclass(frozen=True)
class DownloadedMember:
    """A member before its gates.

    Attributes:
        folder: Folder with its weights, configuration and tokenizer.
        digest: Digest of these files.
        labels: Its labels, in the order of its outputs.
        training_run_id: The MLflow run that trained it.
    """

    folder: Path
    digest: str
    labels: tuple[str, ...]
    training_run_id: str


@dataclass(frozen=True)
class BuiltMember:
    """A member in the artifact, and what was found of each of its variants."""

    spec: MemberSpec
    gates: tuple[Gate, ...]

    def of(self, finetuned: RegisteredModel) -> "BuiltMember":
        """Return the member as that of another version with equal weights."""
        return replace(self, spec=replace(self.spec, finetuned_model_uri=finetuned.uri))


@contextmanager
def downloaded_members(plan: PipelinePlan) -> Iterator[dict[str, DownloadedMember]]:
    """Yield the fine-tuned models of a plan in temporary folders, each version once.

    Raises:
        ModelError: If one is gone or no transformers model.
    """
    client = connect()
    with ExitStack() as stack:
        found: dict[str, DownloadedMember] = {}
        for finetuned in dict.fromkeys(member.finetuned for member in plan.members.values()):
            version = client.get_model_version(finetuned.name, str(finetuned.version))
            folder = stack.enter_context(downloaded_classifier(finetuned.uri))
            found[finetuned.uri] = DownloadedMember(
                folder, digest_folder(folder), tuple(read_labels(folder)), str(version.run_id)
            )
        yield {name: found[member.finetuned.uri] for name, member in plan.members.items()}


def add_members(
    artifact: Path, plan: PipelinePlan, downloaded: Mapping[str, DownloadedMember]
) -> dict[str, BuiltMember]:
    """Copy the members of a plan into the artifact, equal weights once, and gate their variants.

    Members with equal weights and settings are gated once.

    Args:
        artifact: Folder of the pipeline.
        plan: The pipeline.
        downloaded: Its members.

    Raises:
        ModelError: If none of the variants that the plan allows a member passes its gate.
    """
    folders: dict[str, str] = {}
    for name, weights in downloaded.items():
        folders.setdefault(weights.digest, name)
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, member in plan.members.items():
        alike.setdefault(_gate_inputs(member, downloaded[name]), []).append(name)
    is_composed = not isinstance(plan.answer, str)
    built: dict[str, BuiltMember] = {}
    for first, *others in alike.values():
        member = plan.members[first]
        shown = ", ".join([first, *others]) if is_composed else ""
        found = _add_member(
            artifact, folders[downloaded[first].digest], member, downloaded[first], shown
        )
        built |= {name: found.of(plan.members[name].finetuned) for name in (first, *others)}
    return {name: built[name] for name in plan.members}


def _gate_inputs(member: PlannedMember, downloaded: DownloadedMember) -> tuple[object, ...]:
    """Return what the gates of a member depend on."""
    max_tokens = _max_tokens(member, downloaded)
    run_id = downloaded.training_run_id  # which has the rows and the temperature
    return downloaded.digest, run_id, max_tokens, member.engine, member.precision


def _max_tokens(member: PlannedMember, downloaded: DownloadedMember) -> int:
    return member.max_tokens or max_tokens_of(downloaded.folder)


def _add_member(
    artifact: Path, folder: str, member: PlannedMember, downloaded: DownloadedMember, shown: str
) -> BuiltMember:
    """Copy a member and gate its variants; `shown` names it in the log."""
    spec = MemberSpec(
        finetuned_model_uri=member.finetuned.uri,
        folder=folder,
        max_tokens=_max_tokens(member, downloaded),
        variants=(),
        temperature=temperature_of(downloaded.training_run_id),
    )
    weights = member_folder(artifact, spec)
    shutil.copytree(downloaded.folder, weights / "classifier", dirs_exist_ok=True)
    rows = load_check_rows(downloaded.training_run_id)
    if is_static(weights / "classifier"):
        variants = [STATIC_VARIANT]
    else:
        variants = candidate_variants(member.engine, member.precision)
    gatekeeper = Gatekeeper(weights, spec.max_tokens, rows, shown)
    gates = gatekeeper.measure_variants(variants, member.precision)
    return BuiltMember(replace(spec, variants=_passed_variants(gates, member.finetuned)), gates)


def _passed_variants(gates: Sequence[Gate], finetuned: RegisteredModel) -> tuple[Variant, ...]:
    passed = tuple(Variant(gate.engine, gate.precision) for gate in gates if not gate.reason)
    if not passed:
        reasons = "; ".join(f"{gate.engine} {gate.precision}: {gate.reason}" for gate in gates)
        raise ModelError(f"{finetuned.uri}: no engine can answer for it ({reasons})")
    return passed
