"""Run a script in a process of its own, without the project's code, beside the same registry."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tasks.common.errors import ModelError
from tasks.common.settings import get_settings


def run_with_version(script: Path, model_uri: str, question: object, *, timeout_s: int) -> Any:
    """Run a script that loads a version and answers a question about it.

    It is called with the URI, the path of the question and that of the answer, both JSON, in an
    empty folder. `-I` keeps the repository off its path.

    Args:
        script: What is run.
        model_uri: The version.
        question: What JSON can hold.
        timeout_s: How long it may take.

    Raises:
        ModelError: If the script fails, or takes longer.
    """
    with tempfile.TemporaryDirectory(prefix="millstream-") as name:
        asked, answered = Path(name, "question.json"), Path(name, "answer.json")
        asked.write_text(json.dumps(question), encoding="utf-8")
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": get_settings().tracking_uri,
            "MILLSTREAM_HOME": name,
        }
        try:
            process = subprocess.run(
                [sys.executable, "-I", script, model_uri, asked, answered],
                cwd=name,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"{model_uri}: took more than {timeout_s} s in a fresh process"
            ) from None
        if process.returncode != 0:
            reason = (process.stderr.strip() or "no message").splitlines()[-1]
            raise ModelError(f"{model_uri}: does not work in a fresh process: {reason}")
        return json.loads(answered.read_text(encoding="utf-8"))
