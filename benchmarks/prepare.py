"""Train and build the benchmarked models with the project's flows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mlflow

from benchmarks.child import run_module
from benchmarks.measured import Gate
from benchmarks.plan import MAX_TOKENS, Kind, Plan, Precision, ServedPrecision
from pyfunc.spec import PipelineSpec, member_folder
from tasks.tracking.mlflow_client import connect


@dataclass(frozen=True)
class Prepared:
    """The registered models of a run, with the same weights.

    Attributes:
        home: The state folder.
        device: `cpu` or `cuda`.
        artifact: Folder of a pipeline with every engine, which has a single member.
        pipelines: The registered versions by kind of text and precision.
        served: Those that are served under load, by the same.
        main: Name of the default engine, which the build chose.
        gates: Quality gates of the engines in the build of that pipeline.
    """

    home: Path
    device: str
    artifact: Path
    pipelines: dict[tuple[Kind, Precision], str]
    served: dict[tuple[Kind, ServedPrecision], str]
    main: str
    gates: tuple[Gate, ...]

    @property
    def member(self) -> Path:
        """The folder of the only member of the pipeline with every engine."""
        (member,) = PipelineSpec.read(self.artifact).members.values()
        return member_folder(self.artifact, member)

    @property
    def scratch(self) -> Path:
        """The folder for temporary files of the run."""
        return self.home / "scratch"

    def pipelines_of(self, kind: Kind) -> dict[Precision, str]:
        """Return the versions for a kind of text, by precision."""
        return {precision: uri for (of, precision), uri in self.pipelines.items() if of == kind}

    def name_of(self, precision: Precision) -> str:
        """Return the name in the tables of the registered pipeline of a precision."""
        return f"registered pyfunc, {precision}"


def prepare(plan: Plan, home: Path, device: str) -> Prepared:
    """Train and build the models that do not exist yet.

    Args:
        plan: Training rows and pipelines.
        home: The state folder, as in the environment.
        device: `cpu`, or `cuda` without int8.
    """
    wanted = [key for key in plan.pipelines if device == "cpu" or key[1] != "int8"]
    served = [(model.kind, model.precision) for model in plan.load.models if device == "cpu"]
    # The one with every engine is the last one.
    keys = list(dict.fromkeys([*served, *wanted]))
    built = dict(zip(keys, _build(plan, keys, home), strict=True))
    pipelines = {key: built[key] for key in wanted}
    richest = pipelines[wanted[-1]]
    default = version_tags(pipelines["snippets", "auto"])
    return Prepared(
        home=home,
        device=device,
        artifact=fetch_artifact(richest, home / "artifact"),
        pipelines=pipelines,
        served={key: built[key] for key in served},
        main=f"engine {default['engine']} {default['precision']}",
        gates=tuple(
            Gate.model_validate(gate) for gate in json.loads(version_tags(richest)["gates"])
        ),
    )


def fetch_artifact(model_uri: str, folder: Path) -> Path:
    """Download a registered pipeline into `folder`, and return the folder of its artifact."""
    connect()
    folder.mkdir(parents=True, exist_ok=True)
    logged = mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=str(folder))
    return Path(logged) / "artifacts" / "pipeline"


def _build(plan: Plan, wanted: Iterable[tuple[Kind, ServedPrecision]], home: Path) -> list[str]:
    answer = home / "answer.json"
    order = {
        "training": plan.training_of("snippets"),
        "pipelines": [
            {"max_tokens": MAX_TOKENS[kind], "precision": precision} for kind, precision in wanted
        ],
        "answer": str(answer),
    }
    run_module("benchmarks.drive_prepare", order, home / "logs" / "prepare.log")
    uris: list[str] = json.loads(answer.read_text(encoding="utf-8"))
    return uris


def version_tags(model_uri: str) -> dict[str, str]:
    """Return the tags of a registered version, given as `models:/NAME/NUMBER`."""
    name, number = model_uri.removeprefix("models:/").split("/")
    tags: dict[str, str] = connect().get_model_version(name, number).tags
    return tags
