"""Servers of the same weights under the same loads, in turns, on the same cores."""

import asyncio
import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.plan import KINDS, MAX_TOKENS, SEED, LoadPlan, ServedModel
from benchmarks.prepare import Prepared, fetch_artifact, version_tags
from benchmarks.race import differing
from benchmarks.serving.distinct import distinct_texts
from benchmarks.serving.measured import ClosedLoop, Comparison, Load, LoadOrder, OpenLoop, Texts
from benchmarks.serving.processes import bound_to_cores
from benchmarks.serving.runs import ask_labels, run_alone, run_load
from benchmarks.serving.servers import Endpoints, Weights, open_servers
from benchmarks.texts import sample
from pyfunc.spec import Variant

logger = logging.getLogger(__name__)

_ASKED = 50  # texts that each server labels before
_REPEATING_CLIENTS = 8
_SPARE = 200  # texts beyond those that a load is expected to need
_ALL_TEXTS = 25_000  # more than a data set has
_WARM_UP_S = 2.0  # after the start of a server
_ONCE_S = 60  # more than a server needs for the repeated texts


def compare(model: ServedModel, plan: LoadPlan, prepared: Prepared) -> Comparison:
    """Start the servers of a model, and measure them in turns.

    Args:
        model: What is served, and by which servers.
        plan: Sizes of the loads.
        prepared: The registered models.
    """
    folder = prepared.home / "load"
    shutil.rmtree(folder, ignore_errors=True)
    uri = prepared.served[model.kind, model.precision]
    tags: Any = version_tags(uri)
    weights = Weights(
        uri,
        fetch_artifact(uri, folder / "model"),
        Variant(tags["engine"], tags["precision"]),
    )
    logger.info("%s, %s: starting the servers", model.kind, weights.variant)
    with (
        bound_to_cores(plan.cores) as cores,
        open_servers(model.closed, weights, folder) as endpoints,
    ):
        bench = _Bench(model, plan, weights, endpoints, folder)
        labels = bench.differing_labels()
        closed = bench.closed_loops()
        return Comparison(
            kind=model.kind,
            max_tokens=MAX_TOKENS[model.kind],
            engine=str(weights.variant),
            cores=cores,
            servers=tuple(endpoints.opened),
            skipped=dict(endpoints.skipped),
            differing=labels,
            asked=_ASKED,
            alone=tuple(bench.alone),
            closed=closed,
            open=tuple(bench.open_loops(closed)),
            repeated=plan.repeated,
        )


class _Bench:
    """The loads on the servers of a model."""

    def __init__(
        self,
        model: ServedModel,
        plan: LoadPlan,
        weights: Weights,
        endpoints: Endpoints,
        folder: Path,
    ) -> None:
        self._model = model
        self._plan = plan
        self._weights = weights
        self._endpoints = endpoints
        self._folder = folder
        texts = sample(model.kind, _ALL_TEXTS)
        self._repeated, self._asked = texts[: plan.repeated], texts[-_ASKED:]
        self._distinct = distinct_texts(texts[plan.repeated : -_ASKED], SEED)
        self.alone: list[float] = []

    def differing_labels(self) -> dict[str, int]:
        """Ask each server for some labels; return how many are not those of the engine alone."""
        _, expected = run_alone(self._weights, self._asked, self._plan.cores, self._folder)
        found = {}
        for name in self._endpoints.opened:
            with self._endpoints.active(name) as endpoint:
                labels = asyncio.run(ask_labels(endpoint, self._asked))
            found[name] = differing(labels, expected)
        return found

    def closed_loops(self) -> tuple[ClosedLoop, ...]:
        """Measure the engine alone and all closed loops, round by round."""
        loops: dict[tuple[Texts, int], list[dict[str, Load]]] = {}
        keys: list[tuple[Texts, int]] = [("distinct", clients) for clients in self._plan.clients]
        keys.append(("repeated", _REPEATING_CLIENTS))
        names = list(self._endpoints.opened)
        for number in range(self._plan.rounds):
            self._measure_alone()
            if number == 0:
                self._warm_up()
            for texts, clients in keys:
                turn = {
                    name: self._closed_loop(name, texts, clients)
                    for name in (names if number % 2 == 0 else reversed(names))
                }
                loops.setdefault((texts, clients), []).append({n: turn[n] for n in names})
        return tuple(
            ClosedLoop(texts=texts, clients=clients, rounds=tuple(rounds))
            for (texts, clients), rounds in loops.items()
        )

    def open_loops(self, closed: Sequence[ClosedLoop]) -> Iterator[OpenLoop]:
        """Measure the open loops, at shares of the capacity that the closed loops showed."""
        most = next(loop for loop in closed if loop.clients == self._plan.clients[-1])
        for name in self._model.open:
            if name not in self._endpoints.opened:
                continue
            capacity = median(turn[name].per_second for turn in most.rounds)
            for share in self._plan.shares:
                rate = share * capacity
                order = LoadOrder(
                    port=0,
                    dialect="text",
                    texts=self._take(rate * self._seconds(self._plan.open_seconds)),
                    rate=rate,
                    seconds=self._plan.open_seconds,
                    warm_up=self._plan.warm_up,
                    seed=SEED,
                )
                yield OpenLoop(server=name, share=share, load=self._run(name, order))

    def _measure_alone(self) -> None:
        rows = self._plan.engine_rows[KINDS.index(self._model.kind)]
        texts = list(islice(self._distinct, rows))
        seconds, _ = run_alone(self._weights, texts, self._plan.cores, self._folder)
        self.alone.append(rows / seconds)

    def _warm_up(self) -> None:
        """Let each server compute batches of many shapes, each of which costs more at first."""
        for name in self._endpoints.opened:
            order = LoadOrder(
                port=0,
                dialect="text",
                texts=self._take(max(self.alone) * _WARM_UP_S),
                clients=self._plan.clients[-1],
                seconds=_WARM_UP_S,
            )
            self._run(name, order)

    def _closed_loop(self, name: str, texts: Texts, clients: int) -> Load:
        order = LoadOrder(
            port=0,
            dialect="text",
            texts=self._repeated,
            repeat=texts == "repeated",
            clients=clients,
            seconds=self._plan.closed_seconds,
            warm_up=self._plan.warm_up,
            seed=SEED,
        )
        if texts == "distinct":
            most = max(self.alone) * self._seconds(self._plan.closed_seconds)
            return self._run(name, order.model_copy(update={"texts": self._take(1.5 * most)}))
        # Each of them once: what is measured is how fast known texts are answered.
        update = {"repeat": False, "seconds": _ONCE_S, "warm_up": 0.0}
        self._run(name, order.model_copy(update=update))
        return self._run(name, order)

    def _run(self, name: str, order: LoadOrder) -> Load:
        with self._endpoints.active(name) as endpoint:
            where = {"port": endpoint.server.port, "dialect": endpoint.dialect}
            load = run_load(order.model_copy(update=where), self._folder)
        logger.info(
            "%s, %s: %.0f requests/s, p99 %.0f ms, %d errors",
            name,
            f"{order.rate:.0f} a second" if order.rate else f"{order.clients} clients",
            load.per_second,
            load.p99 or math.nan,
            load.errors,
        )
        return load

    def _take(self, texts: float) -> tuple[str, ...]:
        return tuple(islice(self._distinct, math.ceil(texts) + _SPARE))

    def _seconds(self, counted: float) -> float:
        return counted + self._plan.warm_up
