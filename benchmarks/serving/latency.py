"""Latency of the pipeline behind MLflow's model server, compared with a no-op model."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pandas as pd

from benchmarks.measured import ServingRound
from benchmarks.peers import Peer
from benchmarks.prepare import Prepared
from benchmarks.serving.processes import Ask, served
from benchmarks.timing import timed

_SCRIPT = Path(__file__).parent.with_name("nothing_model.py")


def measure(
    prepared: Prepared,
    model_uri: str,
    engine: Peer,
    texts: Sequence[str],
    *,
    rounds: int,
    between: Callable[[], None],
) -> tuple[ServingRound, ...]:
    """Time requests of each kind in turns, then the engine alone, text after text.

    Args:
        prepared: The state folder.
        model_uri: The pipeline to serve.
        engine: The pipeline's engine.
        texts: Distinct texts, divided among the rounds.
        rounds: Turns.
        between: Called before each round.
    """
    scratch = prepared.home / "serving"
    shutil.rmtree(scratch, ignore_errors=True)  # the cache has answers of the previous run
    nothing = _save_nothing(model_uri, scratch / "nothing-model")
    requests = len(texts) // (rounds + 1)
    parts = [
        texts[start : start + requests] for start in range(0, requests * (rounds + 1), requests)
    ]
    cached, computed = parts[0], parts[1:]
    with ExitStack() as stack:
        ask_nothing = stack.enter_context(served(str(nothing), scratch / "nothing"))
        ask = stack.enter_context(served(model_uri, scratch / "pipeline"))

        def run_alone(text: str) -> None:
            engine.run([text])

        for text in cached:  # stores their answers, and warms up all three
            ask(text)
            ask_nothing(text)
            run_alone(text)
        results = []
        for part in computed:
            between()
            results.append(_round(cached, part, ask, ask_nothing, run_alone))
    return tuple(results)


def _round(
    cached: Sequence[str], new: Sequence[str], ask: Ask, ask_nothing: Ask, run_alone: Ask
) -> ServingRound:
    turns = [
        (
            _milliseconds(ask_nothing, text),
            _milliseconds(ask, known),
            _milliseconds(ask, text),
            # With pauses and CPU caches like those of the server.
            _milliseconds(run_alone, text),
        )
        for text, known in zip(new, cached, strict=True)
    ]
    idle, hits, misses, between_requests = zip(*turns, strict=True)
    return ServingRound(
        nothing=idle,
        cached=hits,
        computed=misses,
        engine_in_turns=between_requests,
        engine=tuple(_milliseconds(run_alone, text) for text in new),
    )


def _milliseconds(ask: Ask, text: str) -> float:
    return timed(lambda: ask(text))[1] * 1_000


def _save_nothing(model_uri: str, folder: Path) -> Path:
    """Save the no-op model with the signature of the pipeline."""
    shutil.rmtree(folder, ignore_errors=True)
    signature = mlflow.models.get_model_info(model_uri).signature
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(_SCRIPT),
        signature=signature,
        # Without one MLflow warns.
        input_example=pd.DataFrame({"text": ["a text"]}),
        pip_requirements=[],
    )
    return folder
