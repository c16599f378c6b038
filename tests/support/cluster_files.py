"""The files of `deployments/cluster`, read as the parts that they start."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.common.settings import REPOSITORY

FOLDER = REPOSITORY / "deployments" / "cluster"
COMPOSE = FOLDER / "compose.yaml"
DOCKERFILE = FOLDER / "Dockerfile"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))

_REFERENCE = re.compile(r"\$\{(\w+):\?[^}]+\}")


@dataclass(frozen=True)
class Part:
    """A container of the cluster.

    Attributes:
        file: Which of the two descriptions it is from: `compose` or `kubernetes`.
        name: Its name, which is also that of its service.
        image: The image with its tag.
        command: The command and its arguments, or none, if the image has it.
        environment: Variables with literal values.
        secrets: Variables whose values come from elsewhere, and the name that they have there.
        mounts: Folders by the name of the volume, or by the path on the host.
        declared: All that is said of it.
    """

    file: str
    name: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    secrets: dict[str, str]
    mounts: dict[str, str]
    declared: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether it runs the image of the Dockerfile."""
        return "millstream" in self.image

    @property
    def modules(self) -> set[str]:
        """The Python modules that its command starts."""
        return set(re.findall(r"python -m ([\w.]+)", " ".join(self.command)))

    def __str__(self) -> str:
        return f"{self.file}-{self.name}"


def compose() -> dict[str, Any]:
    """Return the content of the compose file."""
    return dict(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))


def manifests() -> list[dict[str, Any]]:
    """Return the objects of the manifests."""
    return [found for path in MANIFESTS for found in yaml.safe_load_all(path.read_text("utf-8"))]


def workloads() -> list[dict[str, Any]]:
    """Return the objects that have pods."""
    return [found for found in manifests() if found["kind"] in ("Deployment", "StatefulSet")]


def composed_parts() -> list[Part]:
    """Return the parts of the compose file."""
    return [_composed(name, service) for name, service in compose()["services"].items()]


def manifest_parts() -> list[Part]:
    """Return the parts of the manifests."""
    return [_deployed(workload) for workload in workloads()]


def _composed(name: str, service: dict[str, Any]) -> Part:
    variables = {key: str(value) for key, value in service["environment"].items()}
    secrets = {key: found[1] for key in variables if (found := _REFERENCE.match(variables[key]))}
    mounts = [volume.split(":")[:2] for volume in service.get("volumes", ())]
    return Part(
        file="compose",
        name=name,
        image=service["image"],
        command=tuple(map(str, service.get("command", ()))),
        environment={key: variables[key] for key in variables.keys() - secrets.keys()},
        secrets=secrets,
        mounts=dict(mounts),
        declared=service,
    )


def _deployed(workload: dict[str, Any]) -> Part:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    variables = container["env"]
    return Part(
        file="kubernetes",
        name=container["name"],
        image=container["image"],
        command=(*container.get("command", ()), *container.get("args", ())),
        environment={found["name"]: found["value"] for found in variables if "value" in found},
        secrets=dict(_references(variables)),
        mounts={found["name"]: found["mountPath"] for found in container["volumeMounts"]},
        declared=container,
    )


def _references(variables: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for variable in variables:
        if source := variable.get("valueFrom"):
            assert source["secretKeyRef"]["name"] == "millstream"
            yield variable["name"], source["secretKeyRef"]["key"]


def shown_command(page: Path, program: str) -> str:
    """Return the only command of a program that a page shows."""
    (command,) = re.findall(rf"^{program} .+$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return str(command)
