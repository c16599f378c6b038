"""Build the artifact of a pipeline, with what passes its quality gates."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pyfunc.business.spec import digest_business
from pyfunc.composition.members import open_members
from pyfunc.detectors.detector import LanguageDetector
from pyfunc.engines.engine import Engine
from pyfunc.fingerprint import fingerprint_pipeline
from pyfunc.spec import PipelineSpec
from tasks.building.detector_files import copy_detector_files
from tasks.building.members import BuiltMember, DownloadedMember, add_members
from tasks.building.types import BuiltPipeline, LoggedMember
from tasks.business.rules_probe import read_rules
from tasks.business.types import BusinessPlan
from tasks.common.errors import ParameterError
from tasks.common.files import sha256_of
from tasks.composition.gate_rows import load_gate_rows
from tasks.composition.quality_gate import CompositionGate
from tasks.composition.types import PipelinePlan


def build_artifact(
    folder: Path,
    plan: PipelinePlan,
    downloaded: Mapping[str, DownloadedMember],
    detector: LanguageDetector,
    package: Path,
) -> BuiltPipeline:
    """Write the artifact of a pipeline: code, detector, members and the tree over them.

    Args:
        folder: Where it is written; not there yet.
        plan: What the pipeline is made of.
        downloaded: Its members.
        detector: What detects languages.
        package: Folder of the code to ship.

    Raises:
        ModelError: If none of the engines that the plan allows a member passes its gate, the
            composition does not pass its own, or too few rows reach a cascade to choose its
            threshold.
        ParameterError: If the file with the rules has changed since it was checked.
    """
    rows = None
    if not isinstance(plan.answer, str):
        runs = {name: member.training_run_id for name, member in downloaded.items()}
        rows = load_gate_rows(plan.answer, runs, plan.file)
    shutil.copytree(package, folder / "pyfunc", ignore=shutil.ignore_patterns("__pycache__"))
    copy_detector_files(plan.detector, folder)
    built = add_members(folder, plan, downloaded)
    specs = {name: member.spec for name, member in built.items()}
    opened, _ = open_members(folder, specs)
    answer, check = plan.answer, None
    if rows is not None:
        gate = CompositionGate(opened, rows, detector)
        answer = gate.choose_thresholds(answer, plan.file)
        check = gate.measure(answer, plan.file)
    spec = PipelineSpec(plan.kind, specs, answer, plan.detector)
    spec.write(folder)
    if plan.business is not None:
        _write_business(folder, plan.business)
    engines = {name: member.classifier.engine for name, member in opened.items()}
    return BuiltPipeline(
        kind=plan.kind,
        fingerprint=fingerprint_pipeline(folder, spec, engines),
        members={
            name: _logged_member(member, downloaded[name], engines[name])
            for name, member in built.items()
        },
        answer=answer,
        check=check,
        detector=plan.detector,
        business=plan.business and plan.business.spec,
        rules_digest=digest_business(folder),
    )


def _write_business(folder: Path, business: BusinessPlan) -> None:
    """Write the look-ups and rules of a plan.

    Raises:
        ParameterError: If the file with the rules has changed since it was checked.
    """
    rules = ""
    if path := business.rules_path:
        rules = read_rules(path)
        if sha256_of(path) != business.rules_sha256:
            raise ParameterError(f"{path}: changed during the build; expected it unchanged")
    business.spec.write(folder, rules)


def _logged_member(
    built: BuiltMember, downloaded: DownloadedMember, engine: Engine
) -> LoggedMember:
    return LoggedMember(
        finetuned_model_uri=built.spec.finetuned_model_uri,
        training_run_id=downloaded.training_run_id,
        labels=downloaded.labels,
        max_tokens=built.spec.max_tokens,
        temperature=built.spec.temperature,
        engine=engine.variant.engine,
        precision=engine.variant.precision,
        gates=built.gates,
        gate_key=built.gate_key,
        folder=built.spec.folder,
        converted=built.converted,
        taken_over_from=built.taken_over_from,
    )
