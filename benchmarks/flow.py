"""Benchmark of the scoring flow: cold, with a warm cache, and resumed."""

import logging
import shutil
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.child import Called, call_flow
from benchmarks.measured import FlowRound, FlowRun
from benchmarks.peers import Peer
from benchmarks.prepare import Prepared
from benchmarks.timing import timed

logger = logging.getLogger(__name__)


class Scoring:
    """Scoring with one registered pipeline, in a child process each time."""

    def __init__(self, prepared: Prepared, model_uri: str) -> None:
        self._home = prepared.home
        self._model_uri = model_uri
        self._outputs = prepared.home / "outputs"

    def forget(self) -> None:
        """Delete the prediction cache and all outputs."""
        shutil.rmtree(self._home / "prediction-cache", ignore_errors=True)
        shutil.rmtree(self._outputs, ignore_errors=True)

    def score(self, inputs: Sequence[str], output: str, rows: int) -> FlowRun:
        """Score files into a folder and return the times.

        Args:
            inputs: The files.
            output: Name of the output folder; an existing one is resumed.
            rows: Rows in the files.
        """
        folder = self._outputs / output
        parameters = {
            "inputs": list(inputs),
            "output_dir": str(folder),
            "model_uri": self._model_uri,
        }
        called = call_flow("score_shards", parameters, self._home, load=self._model_uri)
        run = _run(called, folder, rows)
        logger.info(
            "%s: %d rows, flow %.1f s, shards %.1f s", output, rows, run.flow, run.shards or 0
        )
        return run


def measure(
    texts: list[str],
    inputs: Sequence[str],
    engine: Peer,
    scoring: Scoring,
    *,
    rounds: int,
    between: Callable[[], None],
) -> tuple[FlowRound, ...]:
    """Score the same texts cold, warm and resumed, in turns with the engine alone.

    Args:
        texts: The rows.
        inputs: Files with the same rows.
        engine: The pipeline's engine.
        scoring: The pipeline.
        rounds: Turns.
        between: Called before each round.
    """
    results = []
    for _ in range(rounds):
        between()
        scoring.forget()
        _, seconds = timed(lambda: engine.run(texts))
        results.append(
            FlowRound(
                engine=seconds,
                cold=scoring.score(inputs, "cold", len(texts)),
                warm=scoring.score(inputs, "warm", len(texts)),
                resumed=scoring.score(inputs, "cold", len(texts)),
            )
        )
    return tuple(results)


def _run(called: Called, folder: Path, rows: int) -> FlowRun:
    marks, summary = called.marks, called.report
    return FlowRun(
        rows=rows,
        rows_done=summary["scored"],
        model_calls=summary["model_calls"],
        cache_hits=summary["cache_hits"],
        imports=marks["imported"] - marks["began"],
        server_start=marks["served"] - marks["imported"],
        model_load=marks["loaded"] - marks["served"],
        flow=marks["returned"] - marks["loaded"],
        shards=_span(folder, since=marks["loaded"]),
        exit=called.ended - marks["returned"],
        peak_mib=called.peak_mib,
    )


def _span(folder: Path, *, since: float) -> float | None:
    """Return the seconds from the first shard's start to the last one's end in this run."""
    from tasks.output.records import ShardRecord

    records = [
        ShardRecord.model_validate_json(path.read_text(encoding="utf-8"))
        for path in (folder / "records").glob("*.json")
    ]
    own = [record for record in records if record.started.timestamp() >= since]
    if not own:
        return None
    ends = (record.started + timedelta(seconds=record.seconds) for record in own)
    return (max(ends) - min(record.started for record in own)).total_seconds()
