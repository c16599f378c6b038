"""The compared servers of the same weights, each in processes of its own."""

import importlib.util
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.earlier import copy_with_earlier_code
from benchmarks.serving.measured import Dialect
from benchmarks.serving.names import (
    BEFORE,
    CLASSIFY,
    INVOCATIONS,
    LITSERVE,
    MLFLOW,
    TRANSFORMERS,
    UnavailableError,
)
from benchmarks.serving.processes import Server, mlflow_command, running
from pyfunc.spec import PipelineSpec, Variant, member_folder
from tasks.common.settings import REPOSITORY

# Requests of one server differ by the dialect alone.
_DIALECTS: Mapping[str, Dialect] = {
    BEFORE: "invocations",
    MLFLOW: "invocations",
    INVOCATIONS: "invocations",
    CLASSIFY: "classify",
    TRANSFORMERS: "text",
    LITSERVE: "text",
}
_OURS = "millstream"
# uvloop and httptools came with online serving, and uvicorn takes them by itself.
_EARLIER_UVICORN = ("UVICORN_LOOP=asyncio", "UVICORN_HTTP=h11")


@dataclass(frozen=True)
class Weights:
    """A registered pipeline of a single member, as all servers serve it.

    Attributes:
        model_uri: The version.
        artifact: Folder of the pipeline in a copy of the logged model.
        variant: The engine that answers.
    """

    model_uri: str
    artifact: Path
    variant: Variant

    @property
    def member(self) -> Path:
        """The folder of the only member."""
        (member,) = PipelineSpec.read(self.artifact).members.values()
        return member_folder(self.artifact, member)

    @property
    def max_tokens(self) -> int:
        """The tokens that longer texts are truncated to."""
        (member,) = PipelineSpec.read(self.artifact).members.values()
        return member.max_tokens


@dataclass(frozen=True)
class Endpoint:
    """Where and how a server is asked."""

    server: Server
    dialect: Dialect


@dataclass(frozen=True)
class Endpoints:
    """The running servers by name, all of them paused, and why the others are missing."""

    opened: Mapping[str, Endpoint]
    skipped: Mapping[str, str]

    @contextmanager
    def active(self, name: str) -> Iterator[Endpoint]:
        """Let one of them run for the block."""
        endpoint = self.opened[name]
        endpoint.server.resume()
        try:
            yield endpoint
        finally:
            endpoint.server.pause()


@contextmanager
def open_servers(names: Collection[str], weights: Weights, folder: Path) -> Iterator[Endpoints]:
    """Start servers one after the other for the block; a started one is paused.

    Args:
        names: Their names.
        weights: What they serve.
        folder: An empty folder for their state and logs.
    """
    opened: dict[str, Endpoint] = {}
    skipped: dict[str, str] = {}
    processes: dict[str, Server] = {}
    with ExitStack() as stack:
        for name in names:
            process = _OURS if name in (INVOCATIONS, CLASSIFY) else name
            if process not in processes:
                try:
                    command = _command(process, weights, folder)
                except UnavailableError as error:
                    skipped[name] = str(error)
                    continue
                place = folder / f"server-{len(processes)}"
                # Away from the repository MLflow's server has but the code that a model ships.
                where = None if process in (BEFORE, MLFLOW) else REPOSITORY
                server = stack.enter_context(running(command, place, where))
                server.pause()
                processes[process] = server
            opened[name] = Endpoint(processes[process], _DIALECTS[name])
        yield Endpoints(opened, skipped)


Command = Callable[[int], Sequence[str]]


def _command(process: str, weights: Weights, folder: Path) -> Command:
    """Return the command of a server for a port.

    Raises:
        UnavailableError: If it cannot run here.
    """
    if process == BEFORE:
        copy = copy_with_earlier_code(weights.artifact.parents[1], folder / "earlier")
        command = mlflow_command(str(copy))
        return lambda port: ["env", *_EARLIER_UVICORN, *command(port)]
    if process == MLFLOW:
        return mlflow_command(weights.model_uri)
    if process == _OURS:
        return _module("deployments.serve", model_uri=weights.model_uri)
    if process == TRANSFORMERS:
        classifier, max_tokens = weights.member / "classifier", weights.max_tokens
        name = "benchmarks.serving.plain_server"
        return _module(name, classifier=classifier, max_tokens=max_tokens)
    if importlib.util.find_spec("litserve") is None:
        raise UnavailableError("it is not installed; `pip install --group bench` does it")
    return _module(
        "benchmarks.serving.litserve_server",
        member=weights.member,
        engine=weights.variant.engine,
        precision=weights.variant.precision,
        max_tokens=weights.max_tokens,
    )


def _module(name: str, **options: object) -> Command:
    flat = [part for key, value in options.items() for part in (_option(key), str(value))]
    return lambda port: [sys.executable, "-m", name, *flat, "--port", str(port)]


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"
