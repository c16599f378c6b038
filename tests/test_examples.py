"""The examples of docs/examples name commands, files and folders that exist."""

import configparser
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tasks.common.settings import REPOSITORY, Settings

EXAMPLES = REPOSITORY / "docs" / "examples"
CONTAINER = (EXAMPLES / "Containerfile").read_text(encoding="utf-8")


def _targets() -> set[str]:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))


def _unit() -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLES / "millstream.service", encoding="utf-8")
    return unit


@pytest.mark.parametrize("key", ["ExecStart", "ExecStop"])
def test_the_unit_calls_a_module_of_ours_in_its_own_folder(key: str) -> None:
    service = _unit()["Service"]
    python, option, module = shlex.split(service[key])
    assert python == f"{service['WorkingDirectory']}/.venv/bin/python"
    assert option == "-m"
    assert importlib.util.find_spec(module) is not None


def test_the_unit_sets_variables_that_are_read() -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert _unit()["Service"]["Environment"].split("=")[0] in known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_knows_every_key_of_the_unit() -> None:
    process = subprocess.run(
        ["systemd-analyze", "verify", str(EXAMPLES / "millstream.service")],
        capture_output=True,
        text=True,
    )
    # The user and the folder are those of the machine that it is for.
    strange = [line for line in process.stderr.splitlines() if "is not executable" not in line]
    assert strange == []


def test_the_container_has_the_python_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (version,) = re.findall(r"^FROM python:([\d.]+)-", CONTAINER, flags=re.MULTILINE)
    assert f">={version}," in project["project"]["requires-python"]


def test_the_container_installs_what_the_set_up_asks_for() -> None:
    # The image of Python has venv and the headers of Python.
    script = (REPOSITORY / ".ci" / "system-packages").read_text(encoding="utf-8")
    needed = set(re.findall(r"echo ([a-z+][\w+-]+)$", script, flags=re.MULTILINE))
    assert {"g++", "protobuf-compiler"} <= needed
    installed = re.findall(r"no-install-recommends (.+) \\", CONTAINER)[0].split()
    assert needed - {"python3-venv", "python3-dev"} <= set(installed)


def test_the_container_calls_targets_of_make_as_a_user_of_its_own() -> None:
    code = "\n".join(line for line in CONTAINER.splitlines() if not line.startswith("#"))
    called = set(re.findall(r"\bmake ([a-z-]+)(?!\+)\b", code))
    assert called == {"setup", "up", "down"}
    assert called <= _targets()
    assert code.index("USER millstream") < code.index("make setup")


def test_no_state_and_no_secret_folder_goes_into_the_image() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").split()
    left_out = (EXAMPLES / "Containerfile.dockerignore").read_text(encoding="utf-8").split()
    folders = {name.strip("/") for name in ignored if name.startswith("/") and name.endswith("/")}
    assert folders <= set(left_out)


def test_the_rules_of_the_example_and_those_that_docs_show_pass_its_tests(tmp_path: Path) -> None:
    tickets = EXAMPLES / "tickets"
    page = (REPOSITORY / "docs" / "business_logic.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```py\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    test = "test_ticket_rules.py"
    shutil.copy(tickets / test, tmp_path)
    (tmp_path / "ticket_rules.py").write_text(shown)
    for folder, chosen in ((tickets, []), (tmp_path, ["-k", "opted_out"])):
        command = [sys.executable, "-m", "pytest", "-q", "--import-mode", "prepend"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", str(folder / test), *chosen],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_the_changed_rule_of_the_example_is_another_one() -> None:
    files = [EXAMPLES / "tickets" / name for name in ("ticket_rules.py", "changed_rules.py")]
    texts = [file.read_text() for file in files]
    pairs = zip(*(text.splitlines() for text in texts), strict=True)
    assert sum(before != after for before, after in pairs) == 3
