"""README and docs tell the truth: each command that they show is run or checked here."""

import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import click
import prefect.settings
import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from flows.command_line import parse
from tasks.common.settings import REPOSITORY, Settings, get_settings
from tasks.serving.protocol import Body, ClassifyBody, InvocationsBody, parse_body
from tests.support.builders import Trained

README = REPOSITORY / "README.md"
SHOWING = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = {page: page.read_text(encoding="utf-8") for page in SHOWING}
LINKING = PAGES | {
    REPOSITORY / name: (REPOSITORY / name).read_text(encoding="utf-8")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md")
}

VARIABLE = re.compile(r"\b(?:MILLSTREAM|PREFECT|MLFLOW)_[A-Z_]+[A-Z]\b")


def _blocks(language: str) -> list[str]:
    # One in a list is indented.
    pattern = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
    return [block for text in PAGES.values() for _, block in pattern.findall(text)]


def _commands() -> list[str]:
    lines = [line.strip() for block in _blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def _words(command: str) -> list[str]:
    """Return a command's words without the variables set before it."""
    words = shlex.split(command, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def _check_make(words: list[str]) -> None:
    process = subprocess.run(
        ["make", "--dry-run", *words[1:]], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    # make passes what it is given on to the commands, whose settings read it.
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert set(re.findall(r"([A-Z_]+)=", " ".join(words))) <= known


def _check_module(words: list[str]) -> None:
    assert words[:2] == [".venv/bin/python", "-m"]
    package, name = words[2].split(".")[0], words[2].split(".")[-1]
    if package == "pip":
        _check_install(words)
        return
    module = importlib.import_module(words[2])
    if package == "flows" and words[3:] != ["--help"]:
        parse(getattr(module, name), words[3:])
    elif name == "prefect_server":
        _check_prefect(words[2:])


def _check_install(words: list[str]) -> None:
    """Check the names alone: pip is not imported here, since it replaces modules of others."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert words[3:5] == ["install", "--constraint"]
    assert (REPOSITORY / words[5]).is_file()
    assert words[6] == "--group"
    assert words[7] in project["dependency-groups"]


def _check_mlflow(words: list[str]) -> None:
    from mlflow.cli import cli

    command: click.Command = cli
    name, arguments = words[0], words[1:]
    context = click.Context(command)
    while isinstance(command, click.Group):
        found, subcommand, arguments = command.resolve_command(context, arguments)
        assert subcommand is not None, found
        command, name = subcommand, str(found)
    command.make_context(name, arguments)


def _check_prefect(words: list[str]) -> None:
    from prefect.cli._app import _app

    command, bound, _ = _app.parse_args(words[1:], print_error=False, exit_on_error=False)
    if command.__module__ == "prefect.cli.deployment" and command.__name__ == "run":
        _check_run(bound.arguments["name"], bound.arguments["params"])


def _check_run(name: str, params: list[str]) -> None:
    """Check that a deployment takes these parameters, and needs no others."""
    deployment = _deployments()[name]
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(REPOSITORY / deployment["entrypoint"]))
    given = dict(param.split("=", 1) for param in params)
    flow.validate_parameters(
        deployment.get("parameters", {}) | {key: _value(text) for key, text in given.items()}
    )


def _value(text: str) -> Any:
    """Return what Prefect makes of a value on the command line."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@cache
def _deployments() -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text(encoding="utf-8"))
    return {
        f"{load_flow_from_entrypoint(str(REPOSITORY / d['entrypoint'])).name}/{d['name']}": d
        for d in content["deployments"]
    }


def _check_curl(words: list[str]) -> None:
    """Check the body; `prove_serving.py` and `prove_serve.py` send such to real servers."""
    kinds: dict[str, type[Body]] = {"classify": ClassifyBody, "invocations": InvocationsBody}
    kind = kinds[words[-1].rpartition("/")[2]]
    assert parse_body(kind, words[words.index("-d") + 1].encode(), max_texts=1_000).texts


def _check_files(words: list[str]) -> None:
    """Check that what is copied, removed or closed is part of the state or its copy, or brought."""
    settings = Settings.model_construct(home=REPOSITORY / "var")
    state = {
        settings.root,
        settings.mlflow_database,
        settings.artifacts,
        settings.prefect_home,
        settings.scored,
    }
    names = {path.name for path in state - {settings.root}}
    for word in words[1:]:
        path = REPOSITORY / word
        assert (
            word.startswith("-")
            or word in ("700", "april.csv", "var/inbox/", "/srv/millstream")
            or path in state
            or path == REPOSITORY / "backup"
            or (path.parent == REPOSITORY / "backup" and path.name in names)
        ), word


def _check_git(words: list[str]) -> None:
    process = subprocess.run(["git", words[1], "-h"], capture_output=True, text=True)
    assert "usage: git" in process.stdout


def _check_ssh(words: list[str]) -> None:
    ports = {Settings.model_fields[name].default for name in ("prefect_port", "mlflow_port")}
    assert {f"{port}:127.0.0.1:{port}" for port in ports} == set(words) - {
        *("ssh", "-N", "-L", "you@machine")
    }


def _check_export(words: list[str]) -> None:
    """Whether there is such a variable is checked for all that the pages name."""
    assert all(re.fullmatch(r"[A-Z_]+=.+", word) for word in words[1:])


def _check_cluster(words: list[str]) -> None:
    """Check the files and names of a cluster; certificates and passwords are made by users."""
    folder = REPOSITORY / "deployments" / "cluster"
    secrets = {folder / ".env", folder / "tls" / "tls.crt", folder / "tls" / "tls.key"}
    paths = {REPOSITORY / word for word in words if word.startswith("deployments/")}
    assert all(path.exists() for path in {path.parent for path in paths} | (paths - secrets))
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    if "--profile" in words:
        profile = words[words.index("--profile") + 1]
        assert any(profile in service.get("profiles", ()) for service in services.values())
    named = {word.partition("/")[2] for word in words if word.startswith("service/")}
    assert named <= services.keys()


CHECKS = {
    "make": _check_make,
    ".venv/bin/python": _check_module,
    ".venv/bin/prefect": _check_prefect,
    ".venv/bin/mlflow": _check_mlflow,
    "mlflow": _check_mlflow,
    "curl": _check_curl,
    "git": _check_git,
    "ssh": _check_ssh,
    "export": _check_export,
    **dict.fromkeys(("cp", "mkdir", "rm", "chmod"), _check_files),
    **dict.fromkeys(("docker", "kubectl", "openssl"), _check_cluster),
}


def test_pages_show_commands() -> None:
    assert len(_commands()) > 40


@pytest.mark.parametrize("command", sorted(set(_commands())))
def test_a_command_that_is_shown_is_one_that_works(command: str) -> None:
    words = _words(command)
    CHECKS[words[0]](words)


def test_the_python_of_readme_runs(trained: Trained, tmp_path: Path) -> None:
    (code,) = _blocks("python")
    database = "sqlite:////path/to/millstream/var/mlflow.db"
    assert database in code
    process = subprocess.run(
        [sys.executable, "-I", "-c", code.replace(database, get_settings().tracking_uri)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert '"prediction_label"' in process.stdout


def test_the_output_of_the_demo_is_shown_by_line_40() -> None:
    lines = PAGES[README].splitlines()
    (line,) = [n for n, text in enumerate(lines, 1) if "test accuracy" in text]
    assert line <= 40


def test_the_reference_is_what_the_code_says() -> None:
    from deployments.reference import PAGE, render_reference

    assert PAGE.read_text(encoding="utf-8") == render_reference(), "run make docs"


def test_every_exit_code_that_is_named_is_one() -> None:
    from deployments.reference import exit_codes

    named = {code for text in PAGES.values() for code in re.findall(r"exit(?: code)? (\d+)", text)}
    assert len(named) > 5
    assert named <= {str(code) for code in exit_codes()}


def test_the_glossary_has_every_figure_of_reports() -> None:
    from tasks.reports.types import SCORING_METRICS, TEST_METRICS

    glossary = PAGES[REPOSITORY / "docs" / "glossary.md"].lower()
    shown = {metric.label.lower() for metric in (*SCORING_METRICS.values(), *TEST_METRICS)}
    assert len(shown) > 20
    assert {label for label in shown if f"\n| {label} |" not in glossary} == set()


def test_the_glossary_has_every_row_that_the_first_commands_print(tmp_path: Path) -> None:
    from flows.start_project import describe_inspection
    from tasks.dataset.inspection import inspect_source
    from tasks.dataset.types import Split
    from tasks.reports.summaries import OVERVIEW
    from tasks.reports.types import TEST_METRICS
    from tasks.scoring.summary import summarise_outcomes
    from tests.tasks.scoring.test_summary import PARAMETERS

    table = tmp_path / "a.csv"
    table.write_text("text,label\n" + "good day,a\nbad day,b\n" * 20, encoding="utf-8")
    found = inspect_source(str(table))
    split = Split(
        folder=tmp_path,
        source=str(table),
        digest="",
        labels=("a", "b"),
        rows={},
        distributions=found.distributions,
        report=found.rows,
    )
    keys = {
        *describe_inspection(found),
        *split.row_counts,
        *(metric.key for metric in TEST_METRICS),
        *summarise_outcomes(PARAMETERS, [], seconds=1),
        *OVERVIEW.values(),
    }
    cells = re.findall(r"^\| ([^|]+) \|", PAGES[REPOSITORY / "docs" / "glossary.md"], re.MULTILINE)
    known = {term for cell in cells for term in (cell, *cell.split(", "))}
    shown = {key.replace("_", " ") for key in keys}
    assert len(shown) > 40
    assert shown - known == set()


def test_every_deployment_that_is_named_is_one() -> None:
    flows = "|".join({name.split("/")[0] for name in _deployments()})
    pattern = re.compile(rf"`((?:{flows})/[\w-]+)`")
    named = {name for text in PAGES.values() for name in pattern.findall(text)}
    assert len(named) > 3
    assert named <= _deployments().keys()


def test_every_variable_that_is_named_is_one() -> None:
    from mlflow import environment_variables

    from deployments.reference import project_variables

    ours = {str(field.validation_alias) for field in Settings.model_fields.values()}
    ours |= {"MILLSTREAM_CACHE_SIZE_LIMIT", *project_variables()}
    named = {name for text in LINKING.values() for name in VARIABLE.findall(text)}
    named = {name for name in named if not name.startswith("MILLSTREAM_SOURCE_")}  # of any source
    assert len(named) > 10
    unknown = {
        name
        for name in named - ours
        if not hasattr(environment_variables, name) and not hasattr(prefect.settings, name)
    }
    assert unknown == set()


def _source() -> str:
    """Return the code's texts, with those that are split over lines put together."""
    files = [path for room in ("tasks", "flows", "deployments") for path in _modules(room)]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def _modules(room: str) -> list[Path]:
    return sorted((REPOSITORY / room).rglob("*.py"))


def test_every_message_that_recovery_starts_from_is_one_of_ours() -> None:
    cells = re.findall(r"^\| (.+?) \|", PAGES[REPOSITORY / "docs" / "recover.md"], re.MULTILINE)
    quotes = [quote for cell in cells for quote in re.findall(r'"(.+?)"', cell)]
    assert len(quotes) > 15
    source = _source()
    # What a message fills in is left out, or is an example.
    filled_in = r"…|\(.*?\)|NAME|\d+|'.*?'"
    strange = {
        part
        for quote in quotes
        for part in re.split(filled_in, quote)
        if part.strip() not in source
    }
    assert strange == set()


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_every_link_and_image_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", LINKING[page]):
        if target.startswith(("http://", "https://")):
            continue
        name, _, section = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if section:
            assert section in _sections(file.read_text(encoding="utf-8")), target


def _sections(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
