"""A script in a process of its own answers, or its failure is one line about the version."""

from pathlib import Path

import pytest

from tasks.common.errors import ModelError
from tasks.tracking.fresh_process import run_with_version

URI = "models:/inference_pipeline_model/1"
ECHO = """
import json, pathlib, sys
uri, asked, answered = sys.argv[1:]
found = json.loads(pathlib.Path(asked).read_text())
here = sorted(path.name for path in pathlib.Path().iterdir())
pathlib.Path(answered).write_text(json.dumps([uri, found, here]))
"""


def script(folder: Path, code: str) -> Path:
    path = folder / "script.py"
    path.write_text(code)
    return path


def test_a_script_gets_the_question_in_an_empty_folder(home: Path, tmp_path: Path) -> None:
    found = run_with_version(script(tmp_path, ECHO), URI, {"a": ["é"]}, timeout_s=60)
    assert found == [URI, {"a": ["é"]}, ["question.json"]]


@pytest.mark.parametrize(
    ("code", "timeout_s", "reason"),
    [
        ("raise SystemExit('ValueError')", 60, "does not work in a fresh process: ValueError"),
        ("import tasks", 60, "does not work in a fresh process: ModuleNotFoundError: No module"),
        ("import time; time.sleep(60)", 1, "took more than 1 s in a fresh process"),
    ],
)
def test_a_failure_names_the_version(
    home: Path, tmp_path: Path, code: str, timeout_s: int, reason: str
) -> None:
    with pytest.raises(ModelError, match=rf"^{URI}: {reason}"):
        run_with_version(script(tmp_path, code), URI, [], timeout_s=timeout_s)
