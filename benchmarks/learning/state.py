"""A state folder of a strategy: its commands, and the answers of its versions."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.learning.measured import Update
from benchmarks.learning.stream import Row
from tasks.common.environment import environment_with
from tasks.common.settings import REPOSITORY, get_settings
from tasks.tracking.names import CHAMPION, PIPELINE_MODEL, version_uri


class State:
    """A state folder."""

    def __init__(self, home: Path) -> None:
        """Name the folder; it need not exist."""
        self.home = home
        self._log = home.with_suffix(".log")

    def copied_to(self, home: Path) -> "State":
        """Return a copy of the folder in another place, with the same versions."""
        shutil.copytree(self.home, home)
        copy = State(home)
        copy.run("relocate")
        return copy

    def run(self, flow: str, *options: str) -> float:
        """Run a command as a user would, and return its seconds.

        Raises:
            subprocess.CalledProcessError: If it fails; the log beside the folder says why.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with self._log.open("a", encoding="utf-8") as output:
            subprocess.run(
                [sys.executable, "-m", f"flows.{flow}", *options],
                cwd=REPOSITORY,
                env=environment_with({"MILLSTREAM_HOME": str(self.home)}),
                stdout=output,
                stderr=output,
                check=True,
            )
        return time.perf_counter() - started

    def champion(self) -> str:
        """Return the URI of the version that answers."""
        from tasks.tracking.registry import get_aliases

        with self.opened():
            return version_uri(PIPELINE_MODEL, get_aliases(PIPELINE_MODEL)[CHAMPION])

    def latest(self) -> str:
        """Return the URI of the newest version."""
        from tasks.tracking.registry import find_version

        with self.opened():
            return version_uri(PIPELINE_MODEL, find_version(PIPELINE_MODEL, "latest").version)

    def outcome(self, before: str, seconds: float) -> Update:
        """Return what became of the newest version.

        Args:
            before: The newest version before the commands.
            seconds: Seconds of the commands.
        """
        from tasks.promotion.aliases import REASON_TAG
        from tasks.tracking.registry import find_version

        latest = self.latest()
        if latest == before:
            return Update(seconds=seconds, alias="", reason="no new version")
        with self.opened():
            version = find_version(PIPELINE_MODEL, latest)
        alias = next(iter(version.aliases), "")
        return Update(seconds=seconds, alias=alias, reason=version.tags.get(REASON_TAG, ""))

    def right(self, model_uri: str, rows: Sequence[Row]) -> int:
        """Return how many rows a version answers with their label; a refusal is wrong."""
        from pyfunc.batching import DEFAULT_BATCH_TOKENS
        from tasks.tracking.pipeline_loader import load_pipeline, predict_documents

        with self.opened():
            found = predict_documents(
                load_pipeline(model_uri),
                [row.text for row in rows],
                use_cache=False,
                batch_tokens=DEFAULT_BATCH_TOKENS,
            )
        responses = (document["response"] for document in found)
        labels = (response and response["prediction_label"] for response in responses)
        return sum(label == row.label for label, row in zip(labels, rows, strict=True))

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make it the state folder of this process meanwhile."""
        former = os.environ["MILLSTREAM_HOME"]
        try:
            os.environ["MILLSTREAM_HOME"] = str(self.home)
            get_settings.cache_clear()
            yield
        finally:
            os.environ["MILLSTREAM_HOME"] = former
            # MLflow puts the address of its database there, where other folders would find it.
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            get_settings.cache_clear()
