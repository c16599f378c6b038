"""README and docs tell the truth: each command that they show is run or checked here."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flows.command_line import parse
from tasks.settings import REPOSITORY, get_settings
from tests.builders import Trained

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCS = [path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "docs").glob("*.md"))]


def _blocks(language: str) -> list[str]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    return [block for text in (README, *DOCS) for block in pattern.findall(text)]


def _commands() -> list[str]:
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.strip()]


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


def _check_module(words: list[str]) -> None:
    assert words[:2] == [".venv/bin/python", "-m"]
    package, name = words[2].split(".")
    module = importlib.import_module(words[2])
    if package == "flows" and words[3:] != ["--help"]:
        parse(getattr(module, name), words[3:])


def _check_serve(words: list[str]) -> None:
    from mlflow.models.cli import serve

    options = {option for parameter in serve.params for option in parameter.opts}
    assert words[:3] == ["mlflow", "models", "serve"]
    assert {word for word in words if word.startswith("--")} <= options


def _check_curl(words: list[str]) -> None:
    """The body is sent to a real server in `test_serving.py`."""
    assert words[-1].endswith("/invocations")


CHECKS = {
    "make": _check_make,
    ".venv/bin/python": _check_module,
    "mlflow": _check_serve,
    "curl": _check_curl,
}


def test_readme_shows_commands() -> None:
    assert len(_commands()) > 10


@pytest.mark.parametrize("command", sorted(set(_commands())))
def test_a_command_of_readme_is_one_that_works(command: str) -> None:
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


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    from flows import command_line

    documented = dict(re.findall(r"^    (\d+) +(.+)$", command_line.__doc__ or "", re.MULTILINE))
    assert dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE)) == documented


def test_the_output_of_the_demo_is_shown_by_line_40() -> None:
    (line,) = [n for n, text in enumerate(README.splitlines(), 1) if "test accuracy" in text]
    assert line <= 40
