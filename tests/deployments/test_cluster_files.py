"""The files of a cluster pass their linters, and name commands, variables and parts that exist."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import dask.config
import distributed
import pytest
from dotenv import dotenv_values

from deployments.cluster_worker import cluster_worker
from deployments.services.definitions import (
    WORKER,
    check_join,
    mlflow_server,
    prefect_server,
    services_of,
)
from flows.command_line import parse
from tasks.cluster.addresses import check_runner
from tasks.common.settings import REPOSITORY, Settings
from tasks.common.urls import has_password
from tests.support.cluster_files import (
    COMPOSE,
    DOCKERFILE,
    FOLDER,
    MANIFESTS,
    Part,
    compose,
    composed_parts,
    manifest_parts,
    manifests,
    workloads,
)

PROGRAMS = Path(sys.executable).parent
LINTERS = {
    "hadolint": [],
    "check-jsonschema": ["--builtin-schema", "vendor.compose-spec"],
    "kubernetes-validate": ["--strict", "--kubernetes-version", "1.37.0"],
}
FILES = {
    "hadolint": [DOCKERFILE],
    "check-jsonschema": [COMPOSE],
    "kubernetes-validate": MANIFESTS,
}

PARTS = [*composed_parts(), *manifest_parts()]
OURS = [part for part in PARTS if part.is_ours]
PORTS = {"postgres": 5432, "s3": 8333, "mlflow": 5000, "prefect": 4200, "scheduler": 8786}
ADDRESS = re.compile(r"\b[\w+]+://[\w.@-]+:\d+")
OF_OTHERS = {
    *("POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "PGPASSWORD"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "HOME"),
}

every_part = pytest.mark.parametrize("part", PARTS, ids=str)
each_of_ours = pytest.mark.parametrize("part", OURS, ids=str)


def passes(linter: str, *files: Path) -> tuple[bool, str]:
    """Return whether a linter finds nothing in some files, and what it says."""
    command = [str(PROGRAMS / linter), *LINTERS[linter], *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("linter", LINTERS)
def test_a_linter_finds_nothing(linter: str) -> None:
    clean, said = passes(linter, *FILES[linter])
    assert clean, said


@pytest.mark.parametrize(
    ("linter", "right", "wrong"),
    [
        ("hadolint", "USER 1000:1000", "USER root"),
        ("check-jsonschema", "restart: unless-stopped", "restarts: unless-stopped"),
        ("kubernetes-validate", "accessModes: [ReadWriteMany]", "accessMode: ReadWriteMany"),
    ],
)
def test_a_linter_finds_what_is_wrong(linter: str, right: str, wrong: str, tmp_path: Path) -> None:
    content = FILES[linter][0].read_text(encoding="utf-8")
    assert right in content
    (tmp_path / FILES[linter][0].name).write_text(content.replace(right, wrong))
    assert not passes(linter, tmp_path / FILES[linter][0].name)[0]


def test_both_descriptions_have_the_same_parts() -> None:
    composed, deployed = ({part.name for part in parts} for parts in (_composed(), _deployed()))
    assert composed - deployed == {"joined"}
    assert deployed <= composed
    assert PORTS.keys() <= deployed


def _composed() -> list[Part]:
    return [part for part in PARTS if part.file == "compose"]


def _deployed() -> list[Part]:
    return [part for part in PARTS if part.file == "kubernetes"]


# The image


def test_the_image_has_the_python_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    images = re.findall(r"^FROM python:(3\.\d+)\.\d+-slim-bookworm", _dockerfile(), re.MULTILINE)
    assert len(images) == 2
    assert {f">={image}," in project["project"]["requires-python"] for image in images} == {True}


def test_the_image_installs_what_the_set_up_asks_for() -> None:
    # The image of Python has venv and the headers of Python.
    script = (REPOSITORY / ".ci" / "system-packages").read_text(encoding="utf-8")
    needed = set(re.findall(r"echo ([a-z+][\w+-]+)$", script, flags=re.MULTILINE))
    built, run = re.findall(r"no-install-recommends (.+) \\", _dockerfile())
    assert needed - {"python3-venv", "python3-dev"} == set(built.split())
    assert run == "libprotobuf32"  # that of bookworm's libprotobuf-dev


def test_the_image_takes_groups_and_pins_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    groups = set(re.findall(r"--group (\w+)", _dockerfile()))
    assert groups == {"app", "cluster"}
    assert groups <= project["dependency-groups"].keys()
    installs = re.findall(r"pip install ((?:[^&]|\n)+)", _dockerfile())
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in install for install in installs)


def test_no_state_and_no_secret_goes_into_the_image() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").split()
    left_out = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    folders = {name.strip("/") for name in ignored if name.startswith("/") and name.endswith("/")}
    assert folders | {"deployments/cluster/.env", "deployments/cluster/tls"} <= set(left_out)
    assert "/deployments/cluster/.env" in ignored


def test_the_image_has_a_user_that_cannot_change_the_code() -> None:
    assert "--chown" not in _dockerfile()
    assert _dockerfile().index("COPY . /srv/millstream") < _dockerfile().index("USER 1000:1000")


def test_the_image_sets_variables_that_are_read() -> None:
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", _dockerfile(), re.MULTILINE)
    names = set(re.findall(r"(\w+)=", block)) - {"PATH", "PYTHONDONTWRITEBYTECODE"}
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert {name for name in names if f"export {name}" not in makefile} == set()


def _dockerfile() -> str:
    return DOCKERFILE.read_text(encoding="utf-8")


# Commands, variables, addresses


@every_part
def test_an_image_has_a_version(part: Part) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    tag = part.image.rpartition(":")[2]
    assert re.match(r"\d+\.\d+", tag)
    if part.is_ours:
        assert tag == project["project"]["version"]


@each_of_ours
def test_a_command_starts_modules_that_exist(part: Part) -> None:
    assert part.modules
    missing = {name for name in part.modules if importlib.util.find_spec(name) is None}
    assert missing == set()


@each_of_ours
def test_a_command_has_options_that_its_program_knows(part: Part) -> None:
    from distributed.cli.dask_scheduler import main as scheduler
    from mlflow.cli import server
    from prefect.cli._app import _app

    words = list(part.command)
    if part.name == "mlflow":
        _parse(server, words[4:])
    elif part.name == "scheduler":
        _parse(scheduler, words[3:])
    elif part.name == "prefect":
        _app.parse_args(words[3:], print_error=False, exit_on_error=False)
    elif part.name == "worker":
        parse(cluster_worker, words[3:])


def _parse(command: click.Command, words: list[str]) -> None:
    command.make_context("part", words)


def test_who_joins_differs_in_that_and_in_its_own_folder_alone() -> None:
    runs, joined = (_part("compose", name) for name in ("runs", "joined"))
    assert joined.environment.items() - runs.environment.items() == {("JOIN", "1")}
    assert joined.command == runs.command
    assert joined.mounts["joined"] == runs.mounts["runs"]
    assert runs.declared["hostname"] != joined.declared["hostname"]


@pytest.mark.parametrize("file", ["compose", "kubernetes"])
def test_settings_of_a_run_fit_together(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _part(file, "runs").environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    check_runner(settings.runner)
    check_join(settings)  # as if it joined: all servers are elsewhere
    assert [service.name for service in services_of(settings)] == [WORKER]


@every_part
def test_a_variable_is_one_that_is_read(part: Part) -> None:
    import prefect.settings
    from mlflow import environment_variables
    from mlflow.cli import server

    of_server = {str(option.envvar) for option in server.params if option.envvar}
    ours = {str(field.validation_alias) for field in Settings.model_fields.values()}
    names = {*part.environment, *part.secrets} - ours - of_server - OF_OTHERS
    unknown = {
        name
        for name in names
        if not hasattr(environment_variables, name)
        and not hasattr(prefect.settings, name)
        and not name.startswith(("DASK_", "PREFECT_LOGGING_FORMATTERS_"))
    }
    assert unknown == set()


@each_of_ours
def test_a_variable_of_dask_is_a_setting_of_dask(part: Part) -> None:
    known = dask.config.merge(*dask.config.defaults)  # importing distributed adds its own
    assert distributed.__name__ in known
    for name in (name for name in part.environment if name.startswith("DASK_")):
        found: Any = known
        for key in name.removeprefix("DASK_").lower().replace("_", "-").split("--"):
            assert key in found, name
            found = found[key]


@pytest.mark.parametrize("file", ["compose", "kubernetes"])
def test_parts_of_dask_have_the_same_tls(file: str) -> None:
    names = ("scheduler", "worker", "runs")
    settings = [
        {key: value for key, value in _part(file, name).environment.items() if "DASK" in key}
        for name in names
    ]
    assert len(settings[0]) == 8
    assert settings == [settings[0]] * 3
    folders = {path for path in settings[0].values() if path.startswith("/")}
    assert {str(Path(path).parent) for path in folders} == {"/run/tls"}
    assert all("/run/tls" in _part(file, name).mounts.values() for name in names)


@every_part
def test_an_address_is_that_of_a_part(part: Part) -> None:
    texts = [*part.command, *part.environment.values(), str(part.declared.get("healthcheck"))]
    addresses = [urlsplit(found) for text in texts for found in ADDRESS.findall(text)]
    for address in addresses:
        assert not has_password(address.geturl())
        if address.hostname != "127.0.0.1":
            assert PORTS[str(address.hostname)] == address.port


def test_a_service_of_kubernetes_leads_to_the_port_of_its_part() -> None:
    services = [found for found in manifests() if found["kind"] == "Service"]
    ports = {s["metadata"]["name"]: s["spec"]["ports"][0]["port"] for s in services if _has_port(s)}
    assert ports == PORTS
    for service in services:
        name = service["metadata"]["name"]
        assert service["spec"]["selector"] == {"app": name}
        container = _part("kubernetes", name).declared
        found = [port["containerPort"] for port in container.get("ports", ())]
        assert found == ([PORTS[name]] if name in PORTS else [])


def _has_port(service: dict[str, Any]) -> bool:
    return "ports" in service["spec"]


@pytest.mark.parametrize("file", ["compose", "kubernetes"])
def test_the_servers_have_the_settings_of_make_up(file: str) -> None:
    settings = Settings.model_construct()
    for service in (mlflow_server(settings), prefect_server(settings)):
        assert service.environment.items() <= _part(file, service.name).environment.items()


@pytest.mark.parametrize("file", ["compose", "kubernetes"])
def test_the_servers_let_the_names_in_by_which_they_are_called(file: str) -> None:
    called = _part(file, "runs").environment
    prefect = _part(file, "prefect").environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert called["PREFECT_API_URL"] == f"{prefect}/api"
    (hosts,) = [word for word in _part(file, "mlflow").command if "--allowed-hosts" in word]
    assert urlsplit(called["MLFLOW_TRACKING_URI"]).netloc in hosts.partition("=")[2].split(",")


def _part(file: str, name: str) -> Part:
    (found,) = [part for part in PARTS if (part.file, part.name) == (file, name)]
    return found


# Secrets, health, volumes, rights


@every_part
def test_no_secret_is_written_down(part: Part) -> None:
    words = ("PASSWORD", "SECRET", "ACCESS_KEY", "TOKEN")
    literal = {name for name in part.environment if any(word in name for word in words)}
    assert literal == set()
    assert set(part.secrets.values()) <= dotenv_values(FOLDER / ".env.example").keys()


def test_the_example_of_secrets_has_placeholders_for_all_of_them() -> None:
    example = dotenv_values(FOLDER / ".env.example")
    assert example.keys() == {name for part in PARTS for name in part.secrets.values()}
    assert set(example.values()) == {"change-me"}


def test_only_this_machine_reaches_a_port() -> None:
    bound = [port for part in _composed() for port in part.declared.get("ports", ())]
    assert len(bound) == 2
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in bound)


def test_a_part_starts_after_those_that_it_needs_are_healthy() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert ("healthcheck" in service) == (name != "worker")
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]


@pytest.mark.parametrize("file", ["compose", "kubernetes"])
def test_the_output_folder_has_one_path(file: str) -> None:
    scored = str(Settings.model_construct(home=Path("/srv/var")).scored)
    sharing = {p.name for p in PARTS if p.file == file and p.mounts.get("scored") == scored}
    assert sharing - {"joined"} == {"runs", "worker"}
    assert f"MILLSTREAM_HOME={Path(scored).parent}" in _dockerfile()


def test_a_volume_that_is_mounted_is_declared() -> None:
    declared = compose()["volumes"].keys()
    named = {name for part in _composed() for name in part.mounts if not name.startswith(".")}
    assert named == declared
    hosts = {name for part in _composed() for name in part.mounts if name.startswith(".")}
    assert {name for name in hosts if not (FOLDER / name).exists()} == set()
    (claim,) = [found for found in manifests() if found["kind"] == "PersistentVolumeClaim"]
    assert (claim["metadata"]["name"], claim["spec"]["accessModes"]) == (
        "scored",
        ["ReadWriteMany"],
    )


def test_both_make_the_databases_that_the_servers_name() -> None:
    script = (FOLDER / "postgres" / "databases.sql").read_text(encoding="utf-8")
    (configured,) = [found for found in manifests() if found["kind"] == "ConfigMap"]
    made = {"create database mlflow;"}
    assert made <= set(script.splitlines())
    assert made <= set(configured["data"]["databases.sql"].splitlines())
    for file in ("compose", "kubernetes"):
        address = _part(file, "mlflow").environment["MLFLOW_BACKEND_STORE_URI"]
        assert address.endswith("/mlflow")
        prefect = _part(file, "prefect").environment["PREFECT_SERVER_DATABASE_NAME"]
        assert prefect == _part(file, "postgres").environment["POSTGRES_DB"]


@pytest.mark.parametrize("workload", workloads(), ids=lambda found: str(found["metadata"]["name"]))
def test_a_pod_has_no_more_rights_than_it_needs(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    # Else PREFECT_PORT is the address of a service, and no number.
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert ("livenessProbe" in container) == (container["name"] != "worker")


def test_each_object_is_in_the_namespace() -> None:
    found = {(m["kind"], m["metadata"].get("namespace")) for m in manifests()}
    assert {namespace for kind, namespace in found if kind != "Namespace"} == {"millstream"}
