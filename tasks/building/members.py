"""Build the members of a pipeline into its artifact, with the engines that pass their gates.

Gates take most of a build. Those of a member that an earlier version has, under equal conditions,
are taken over from it: a changed rule changes no member.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.exceptions import MlflowException

from pyfunc.classifier import read_labels
from pyfunc.engines.openvino import model_path
from pyfunc.fingerprint import digest_code, digest_folder
from pyfunc.spec import MemberSpec, Variant, member_folder
from pyfunc.static.model import is_static
from tasks.building.build_records import find_members_gated_alike
from tasks.building.quality_gates import (
    STATIC_VARIANT,
    Gatekeeper,
    candidate_variants,
    describe_machine,
)
from tasks.building.types import Gate, LoggedMember
from tasks.common.errors import ModelError
from tasks.common.files import sha256_of
from tasks.common.settings import REPOSITORY
from tasks.composition.types import PipelinePlan, PlannedMember
from tasks.tracking.mlflow_client import connect, is_transient, package_versions
from tasks.tracking.names import RegisteredModel
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of, temperature_of
from tasks.training.logged_rows import load_check_rows

logger = logging.getLogger(__name__)

# What gates compute with, besides the packages that a build records.
_NUMERICAL_PACKAGES = ("numpy", "safetensors")


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
    """A member in the artifact, and what was found of each of its variants.

    Attributes:
        spec: Its settings.
        gates: What was found.
        gate_key: As in `LoggedMember`.
        converted: As in `LoggedMember`.
        taken_over_from: As in `LoggedMember`.
    """

    spec: MemberSpec
    gates: tuple[Gate, ...]
    gate_key: str = ""
    converted: dict[str, str] = field(default_factory=dict)
    taken_over_from: str = ""

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

    Members with equal weights and settings are gated once, and not at all if a registered version
    has them, gated by the same code and packages on such a machine.

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
    alike: dict[str, list[str]] = {}
    conditions = _gate_conditions()
    for name, member in plan.members.items():
        alike.setdefault(_gate_key(member, downloaded[name], conditions), []).append(name)
    is_composed = not isinstance(plan.answer, str)
    built: dict[str, BuiltMember] = {}
    for gate_key, (first, *others) in alike.items():
        member, weights = plan.members[first], downloaded[first]
        shown = ", ".join([first, *others]) if is_composed else ""
        spec = _copy_weights(artifact, folders[weights.digest], member, weights)
        folder = member_folder(artifact, spec)
        found = _take_over(folder, spec, gate_key, shown)
        if found is None:
            gatekeeper = Gatekeeper(
                folder, spec.max_tokens, load_check_rows(weights.training_run_id), shown
            )
            found = _gate_member(gatekeeper, folder, spec, member, gate_key)
        built |= {name: found.of(plan.members[name].finetuned) for name in (first, *others)}
    return {name: built[name] for name in plan.members}


def _gate_conditions() -> dict[str, object]:
    """Return what the gates of every member depend on: code, packages and machine."""
    return {
        "code": [digest_code(REPOSITORY / name) for name in ("pyfunc", "tasks")],
        "packages": package_versions(*_NUMERICAL_PACKAGES),
        "machine": describe_machine(),
    }


def _gate_key(
    member: PlannedMember, downloaded: DownloadedMember, conditions: Mapping[str, object]
) -> str:
    """Return the digest of what the gates of a member depend on."""
    parts = {
        **conditions,
        "classifier": downloaded.digest,
        "training_run_id": downloaded.training_run_id,  # which has the rows
        "max_tokens": _max_tokens(member, downloaded),
        "engine": member.engine,
        "precision": member.precision,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _max_tokens(member: PlannedMember, downloaded: DownloadedMember) -> int:
    return member.max_tokens or max_tokens_of(downloaded.folder)


def _copy_weights(
    artifact: Path, folder: str, member: PlannedMember, downloaded: DownloadedMember
) -> MemberSpec:
    spec = MemberSpec(
        finetuned_model_uri=member.finetuned.uri,
        folder=folder,
        max_tokens=_max_tokens(member, downloaded),
        variants=(),
        temperature=temperature_of(downloaded.training_run_id),
    )
    weights = member_folder(artifact, spec)
    shutil.copytree(downloaded.folder, weights / "classifier", dirs_exist_ok=True)
    return spec


def _gate_member(
    gatekeeper: Gatekeeper, folder: Path, spec: MemberSpec, member: PlannedMember, gate_key: str
) -> BuiltMember:
    """Gate the variants of a member, whose weights are in `folder`."""
    if is_static(folder / "classifier"):
        variants = [STATIC_VARIANT]
    else:
        variants = candidate_variants(member.engine, member.precision)
    gates = gatekeeper.measure_variants(variants, member.precision)
    passed = _passed_variants(gates)
    if not passed:
        reasons = "; ".join(f"{gate.engine} {gate.precision}: {gate.reason}" for gate in gates)
        raise ModelError(f"{member.finetuned.uri}: no engine can answer for it ({reasons})")
    openvino = folder / "openvino"
    used = {
        model_path(openvino, variant.precision).stem
        for variant in passed
        if variant.engine == "openvino"
    }
    return BuiltMember(
        spec=replace(spec, variants=passed),
        gates=gates,
        # An error may have been of the moment: the next build tries again.
        gate_key="" if gatekeeper.had_errors else gate_key,
        converted=_digests(path for path in openvino.glob("*.*") if path.stem in used),
    )


def _passed_variants(gates: Sequence[Gate]) -> tuple[Variant, ...]:
    return tuple(Variant(gate.engine, gate.precision) for gate in gates if not gate.reason)


def _take_over(folder: Path, spec: MemberSpec, gate_key: str, shown: str) -> BuiltMember | None:
    """Take converted files and gates of an earlier version, or return None if none has them."""
    prefix = f"{shown}: " if shown else ""
    for version, member in find_members_gated_alike(gate_key):
        if reason := _take_converted(folder / "openvino", version, member):
            logger.warning("%sgates not taken over from %s: %s", prefix, version, reason)
            continue
        logger.info(
            "%sgates taken over from %s: weights, rows, settings, code, packages and machine are "
            "the same",
            *(prefix, version),
        )
        return BuiltMember(
            spec=replace(spec, variants=_passed_variants(member.gates)),
            gates=member.gates,
            gate_key=gate_key,
            converted=member.converted,
            taken_over_from=version,
        )
    return None


def _take_converted(openvino: Path, version: str, member: LoggedMember) -> str:
    """Copy what OpenVINO reads, and return why that is not possible, or an empty string."""
    if not member.converted:
        return ""
    source = f"artifacts/pipeline/members/{member.folder}/openvino"
    with TemporaryDirectory(prefix="millstream-") as name:
        try:
            found = Path(mlflow.artifacts.download_artifacts(f"{version}/{source}", dst_path=name))
        except (MlflowException, OSError) as error:
            if isinstance(error, MlflowException) and is_transient(error):
                raise
            return f"{source}: missing; expected {', '.join(member.converted)}"
        # Equal weights that were cut at another length may have been quantised otherwise.
        there = [openvino / file for file in member.converted if (openvino / file).exists()]
        if not _digests(there).items() <= member.converted.items():
            return "a member with equal weights has other converted files"
        if damaged := member.converted.items() - _digests(found.glob("*.*")).items():
            files = ", ".join(sorted(file for file, _ in damaged))
            return f"{source}: {files}: missing or damaged; expected the SHA-256 of its build"
        openvino.mkdir(exist_ok=True)
        for file in member.converted:
            shutil.move(found / file, openvino / file)
    return ""


def _digests(files: Iterable[Path]) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(files)}
