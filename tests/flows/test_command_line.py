import inspect
import logging
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, flow, task
from prefect.exceptions import ParameterTypeError
from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console

from deployments.reference import exit_codes
from flows import command_line
from flows.command_line import run
from flows.score_shards import score_shards
from tasks.common import errors
from tasks.common.parameter_types import Positive
from tasks.common.settings import REPOSITORY
from tests.support.builders import Trained
from tests.support.commands import run_command
from tests.support.every_flow import FLOWS

FLOW_NAMES = [flow.fn.__name__ for flow in FLOWS]
HEAVY = {"mlflow", "torch", "transformers", "pandas", "pyarrow", "sklearn", "matplotlib", "gcld3"}
HEAVY |= {"boto3", "botocore"}


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bring Prefect's lines to this test's standard error; undo what `run` does to them."""
    setup_logging()
    handlers = command_line._terminal_handlers()
    for handler in handlers:
        monkeypatch.setattr(handler, "filters", [*handler.filters])
        if isinstance(handler, PrefectConsoleHandler):
            monkeypatch.setattr(handler, "console", Console(stderr=True, soft_wrap=True))
    yield
    for handler in handlers:
        vars(handler).pop("format", None)


def exit_code(
    flow: Flow[..., Any], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path
) -> object:
    monkeypatch.setattr(sys, "argv", ["python", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        run(flow)
    return exited.value.code


def error_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is said of the error, having seen that it is no box and no traceback."""
    said = capsys.readouterr().err
    assert "Finished in state Failed" in said
    assert "Traceback" not in said
    assert "╭" not in said
    return [line for line in said.splitlines() if line.startswith("error:")]


# The parameters


@pytest.mark.parametrize("flow", FLOWS, ids=FLOW_NAMES)
def test_help_shows_every_parameter_with_its_description(
    flow: Flow[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert exit_code(flow, monkeypatch, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"python -m flows.{flow.fn.__name__}" in shown
    for name, parameter in flow.parameters.properties.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert " ".join(parameter["description"].split()) in shown
    assert "--debug" in shown


@pytest.mark.parametrize("flow", FLOWS, ids=FLOW_NAMES)
def test_form_describes_and_bounds_every_parameter(flow: Flow[..., Any]) -> None:
    assert list(flow.parameters.properties) == list(inspect.signature(flow.fn).parameters)
    for name, parameter in flow.parameters.properties.items():
        assert parameter["description"].endswith("."), name
        assert "\n\n" not in parameter["description"], name
        kinds = {
            kind["type"]: kind for kind in parameter.get("anyOf", [parameter]) if "type" in kind
        }
        assert kinds, name
        for number in kinds.keys() & {"integer", "number"}:
            assert {"minimum", "exclusiveMinimum"} & kinds[number].keys(), name
    assert "object" not in {p.get("type") for p in flow.parameters.properties.values()}


def test_form_offers_the_choices() -> None:
    form = {flow.name: flow.parameters.properties for flow in FLOWS}
    assert form["train-classifier"]["strategy"]["enum"] == ["full", "freeze"]
    assert form["train-classifier"]["learning_rate"]["exclusiveMinimum"] == 0
    assert form["train-classifier"]["sha256"]["anyOf"][0]["pattern"] == "^[0-9a-fA-F]{64}$"
    assert form["build-inference-pipeline"]["pipeline"]["enum"] == ["full", "plain"]
    assert form["build-inference-pipeline"]["engine"]["enum"] == ["auto", "openvino", "torch"]
    assert form["build-inference-pipeline"]["precision"]["enum"] == ["auto", "f32", "bf16", "int8"]
    assert form["score-shards"]["workers"]["maximum"] == 64
    assert form["end-to-end"]["steps"]["items"]["enum"] == [
        "all",
        "download_data",
        "fine_tuning_model",
        "register_model",
        "inference_pipeline_model",
        "score",
    ]


def test_equal_parameters_of_two_flows_are_described_and_bounded_alike() -> None:
    form = {flow.name: flow.parameters.properties for flow in FLOWS}
    whole, training = form["end-to-end"], form["train-classifier"]
    shared = (whole.keys() & training.keys()) - {"steps"}
    assert len(shared) > 12
    for name in shared:
        for field in whole[name].keys() - {"position"}:
            assert whole[name][field] == training[name][field], name


# Parameters that are refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--inputs requires an argument"),
        (["--inputs", "a.csv"], "--output-dir requires an argument"),
        (["--inputs", "a.csv", "--output-dir", "o", "--workers", "-1"], "--workers: .* got -1"),
        (["--inputs", "a.csv", "--output-dir", "o", "--workers", "65"], "--workers: .* got 65"),
        (["--inputs", "a.csv", "--output-dir", "o", "--workers", "two"], '--workers.*"two"'),
        (["--inputs", "a.csv", "--output-dir", "o", "--gibberish", "1"], "--gibberish"),
        (["--inputs", "a.csv", "--output-dir", "o", "--use-cache", "maybe"], "maybe"),
        (["--inputs", "a.csv", "--output-dir", "o", "--split", "2=10"], "split: '2=10'; expected"),
    ],
)
def test_parameter_that_is_refused_is_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    assert exit_code(score_shards, monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")
    assert re.search(expected, said)


def test_a_password_in_an_address_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "https://me:hunter2@example.org/a.csv"
    assert exit_code(score_shards, monkeypatch, "--inputs", url, "--output-dir", "o") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: https://example.org/a.csv: given with a user name or")


@pytest.mark.parametrize(
    ("model", "answer", "expected"),
    [
        ("99", "film", "members.film.model: dl_finetuned_model: no version '99'; there are the"),
        ("nobody", "film", "members.film.model: dl_finetuned_model: no version 'nobody'; there"),
        ("1, max_tokens: 999", "film", "members.film.max_tokens: 999; expected 512 at most, the"),
        (
            "1",
            "{route: {label_of: film}, to: {imdb: film}, else: film}",
            "answer.to: ['imdb']; expected labels of film: ['negative', 'positive']",
        ),
    ],
)
def test_members_that_do_not_fit_are_one_line_and_code_2_before_a_run(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    answer: str,
    expected: str,
) -> None:
    path = tmp_path / "reviews.yaml"
    path.write_text(f"members: {{film: {{model: {model}}}}}\nanswer: {answer}\n")
    monkeypatch.setattr(sys, "argv", ["python", "--composition", str(path)])
    with pytest.raises(SystemExit) as exited:
        runpy.run_path(
            str(REPOSITORY / "flows" / "build_inference_pipeline.py"), run_name="__main__"
        )
    assert exited.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: {expected}")


def test_parameters_that_prefect_refuses_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    inputs = ["https://example.org/a.csv?token=hunter2"]
    with pytest.raises(ParameterTypeError) as raised:
        score_shards.validate_parameters({"inputs": inputs, "output_dir": "o", "shard_rows": 0})
    assert "shard_rows" in str(raised.value)
    assert "hunter2" not in str(raised.value) + caplog.text


def test_debug_shows_where_a_parameter_was_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(score_shards, monkeypatch, "--debug", "--gibberish", "1") == 2
    (first, *_, last) = capsys.readouterr().err.splitlines()
    assert first.startswith("Traceback")
    assert last == "error: Unknown option: --gibberish."


# What comes of a flow


@flow(name="count-words")
def count_words(words: list[str] = [], times: Positive = 1) -> None:  # noqa: B006
    """Count words.

    Args:
        words: The words.
        times: How often.
    """
    logging.getLogger("tasks.counting").info("%d words, %d times", len(words), times)


@task(name="fail")
def fail_in_a_task(name: str) -> None:
    if name == "KeyboardInterrupt":
        raise KeyboardInterrupt
    raise getattr(errors, name, ValueError)("" if name == "Empty" else "the\nreason")


@flow(name="fail-on-purpose")
def fail_on_purpose(name: str) -> None:
    """Fail.

    Args:
        name: Name of the error.
    """
    fail_in_a_task(name)


@pytest.mark.usefixtures("prefect_harness")
def test_flow_that_completes_is_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(count_words, monkeypatch, "--words", "a", "b", "--times", "3") == 0
    said = capsys.readouterr().err
    assert "2 words, 3 times" in said
    assert "error:" not in said


CODES = {
    "MillstreamError": 1,
    "UnexpectedError": 1,
    "ParameterError": 2,
    "DataError": 3,
    "DownloadError": 4,
    "TransientDownloadError": 4,
    "ModelError": 5,
    "ShardsFailedError": 6,
    "OutputInUseError": 7,
    "SupersededError": 12,
    "OutputError": 8,
    "ProofError": 9,
    "TrackingError": 10,
    "DeliveryError": 11,
    "TransientDeliveryError": 11,
    "ClusterError": 13,
    "StoppedError": 143,
}


def test_each_error_has_the_code_of_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.__name__: getattr(kind, "exit_code", None) for kind in kinds} == CODES
    assert exit_codes().keys() == {0, 130, *CODES.values()}


@pytest.mark.parametrize(
    ("name", "code"), [("DataError", 3), ("TransientDownloadError", 4), ("ShardsFailedError", 6)]
)
@pytest.mark.usefixtures("prefect_harness")
def test_known_error_ends_with_its_code_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    assert exit_code(fail_on_purpose, monkeypatch, name) == code
    assert error_lines(capsys) == ["error: the reason"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ValueError", "error: ValueError: the reason (--debug shows where)"),
        ("Empty", "error: ValueError (--debug shows where)"),
    ],
)
@pytest.mark.usefixtures("prefect_harness")
def test_error_that_nobody_foresaw_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    assert exit_code(fail_on_purpose, monkeypatch, name) == 1
    assert error_lines(capsys) == [line]


@pytest.mark.usefixtures("prefect_harness")
def test_interruption_is_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(fail_on_purpose, monkeypatch, "KeyboardInterrupt") == 130
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == "error: interrupted"
    assert "Crash" not in said


@pytest.mark.usefixtures("prefect_harness")
def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(fail_on_purpose, monkeypatch, "DataError", "--debug") == 3
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "fail_in_a_task" in said
    assert [line for line in said.splitlines() if line.startswith("error:")] == [
        "error: the reason"
    ]


# The real commands


LIST_MODULES = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    try:
        runpy.run_module(name, run_name="__main__")
    except SystemExit as exited:
        assert exited.code == 0
print(*sys.modules, sep="\\n")
"""


def test_help_imports_nothing_heavy(home: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *(f"flows.{name}" for name in FLOW_NAMES)],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(process.stdout.splitlines())
    assert {"prefect", "tasks.training", "flows.command_line"} <= modules
    assert modules & HEAVY == set()
    assert all(f"Usage: python -m flows.{name}" in process.stdout for name in FLOW_NAMES)


def test_bad_parameter_is_refused_before_a_server_is_started(home: Path) -> None:
    process = run_command("flows.train_classifier", "--epochs", "0", home=home)
    assert process.returncode == 2
    expected = "error: --epochs: Input should be greater than or equal to 1, got 0\n"
    assert (process.stdout, process.stderr) == ("", expected)
    assert not list(home.rglob("*.db"))


def test_control_characters_do_not_reach_the_terminal(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    assert exit_code(score_shards, monkeypatch, "--a\x1b[2J") == 2
    logging.getLogger("tasks.scoring").warning("%s: no column", "b\x1b[2J.csv")
    said = capsys.readouterr().err
    assert "\x1b[2J" not in said
    assert "--a\\x1b[2J" in said
    assert "b\\x1b[2J.csv: no column" in said


def test_prefects_own_services_show_no_traceback_of_what_they_could_not_send() -> None:
    script = """
import logging
from prefect.logging.configuration import setup_logging
from flows.command_line import _hide_tracebacks
setup_logging()
_hide_tracebacks()
try:
    raise OSError("the server has ended")
except OSError:
    for name in ("prefect._internal.concurrency", "prefect.events", "httpx", "uvicorn.error"):
        logging.getLogger(name).error("Service failed with 1 pending items", exc_info=True)
"""
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert process.stderr.count("Service failed") == 4
    assert "Traceback" not in process.stderr


def test_garbage_is_collected_in_processes_that_a_module_name_starts() -> None:
    # As `python -m deployments.server.prefect_server`, which lives for months.
    code = "import sys; sys.argv = ['-m']; import flows, gc; assert gc.isenabled()"
    # A wrong setting or project file is told before Prefect is imported, which takes a second.
    code += "; assert 'prefect' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
