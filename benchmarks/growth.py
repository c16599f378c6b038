"""Scaling benchmark: time and memory by number of rows, and one core compared with two."""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.child import run_module
from benchmarks.flow import Scoring
from benchmarks.measured import Cores, GrowthRound
from benchmarks.plan import Plan
from benchmarks.prepare import Prepared
from benchmarks.texts import mixed, write_files


def measure(
    plan: Plan, scoring: Scoring, folder: Path, between: Callable[[], None]
) -> tuple[GrowthRound, ...]:
    """Score growing inputs with an empty cache, then the largest one warm and resumed, in turns.

    Args:
        plan: The numbers of rows.
        scoring: The pipeline.
        folder: Folder for the input files.
        between: Called before each round.
    """
    inputs = {
        rows: write_files(mixed(rows), folder / str(rows), plan.flow_files)
        for rows in plan.growth_rows
    }
    most = max(inputs)
    results = []
    for _ in range(plan.rounds):
        between()
        cold = []
        for rows, files in inputs.items():
            scoring.forget()
            cold.append(scoring.score(files, f"grown-{rows}", rows))
        warm = scoring.score(inputs[most], "grown-warm", most)
        resumed = scoring.score(inputs[most], f"grown-{most}", most)
        results.append(GrowthRound(cold=tuple(cold), warm=warm, resumed=resumed))
    return tuple(results)


def measure_cores(
    prepared: Prepared, engine: str, texts: list[str], max_tokens: int, *, rounds: int
) -> Cores:
    """Time an engine bound to one core and to two, in child processes, in turns.

    Args:
        prepared: The registered models.
        engine: Name of the engine.
        texts: The texts.
        max_tokens: Longer texts are truncated to this many tokens.
        rounds: Turns.
    """
    question, answer = prepared.home / "question.json", prepared.home / "answer.json"
    question.write_text(json.dumps(texts), encoding="utf-8")
    order = {
        "member": str(prepared.member),
        "engine": engine,
        "texts": str(question),
        "max_tokens": max_tokens,
        "answer": str(answer),
    }
    results = []
    for _ in range(rounds):
        seconds = {}
        for cores in (1, 2):
            log = prepared.home / "logs" / f"cores-{cores}.log"
            run_module("benchmarks.drive_engine", order | {"cores": cores}, log)
            seconds[str(cores)] = float(json.loads(answer.read_text(encoding="utf-8"))["seconds"])
        results.append(seconds)
    return Cores(rows=len(texts), rounds=tuple(results))
