"""Run all parts of the benchmark, and save the results after each part."""

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import budgets, compositions, flow, growth, race
from benchmarks.engines import engine_alone, open_engines
from benchmarks.machine import describe
from benchmarks.measured import Results
from benchmarks.peak import Peak
from benchmarks.plan import KINDS, MAX_TOKENS, Kind, Part, Plan
from benchmarks.prepare import Prepared, prepare
from benchmarks.serving import latency
from benchmarks.serving.compare import compare
from benchmarks.texts import sample, write_files

logger = logging.getLogger(__name__)


def run(plan: Plan, home: Path, *, parts: Collection[Part], quick: bool) -> Results:
    """Run the parts, and write the results so far into `home` after each of them.

    Args:
        plan: The sizes.
        home: The state folder, as in the environment.
        parts: The parts to run.
        quick: Whether the results are marked as those of a short run.
    """
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results = Results(machine=describe(), device=device, quick=quick)
    logger.info("%s: preparing the models", device)
    prepared = prepare(plan, home, device)
    results = results.model_copy(update={"gates": prepared.gates})
    shutil.rmtree(prepared.scratch, ignore_errors=True)
    peak = Peak(device)
    for found in _Suite(plan, prepared, peak).measure(parts):
        update = found | {
            "peak_gflops": tuple(peak.samples),
            "seconds": time.monotonic() - started,
        }
        results = results.model_copy(update=update)
        results.write(home)
        logger.info("%s: done, %.0f s since the start", ", ".join(found), results.seconds)
    return results


class _Suite:
    """The parts, with their common plan, models, engines and peak."""

    def __init__(self, plan: Plan, prepared: Prepared, peak: Peak) -> None:
        self._plan = plan
        self._prepared = prepared
        self._peak = peak
        self._engines = open_engines(prepared.member, prepared.device)
        self._main = engine_alone(
            prepared.main,
            self._engines.opened[prepared.main],
            prepared.member,
            MAX_TOKENS["snippets"],
        )

    def measure(self, parts: Collection[Part]) -> Iterator[dict[str, Any]]:
        """Yield the results of each part as it is done."""
        fields: dict[Part, tuple[str, Callable[[], Any]]] = {
            "race": ("races", lambda: tuple(map(self._race, KINDS))),
            "budgets": ("budgets", lambda: tuple(map(self._budgets, KINDS))),
            "serving": ("serving", self._serving),
            "cores": ("cores", self._cores),
            "flow": ("flow", self._flow),
            "growth": ("growth", self._growth),
            "cascade": ("cascades", lambda: tuple(map(self._cascade, self._plan.cascades))),
            "route": ("routes", self._route),
        }
        if self._prepared.device != "cpu":
            del fields["cores"]
        for part, (field, found) in fields.items():
            if part in parts:
                yield {field: found()}
            if part == "serving" and part in parts:
                yield from self._served()

    def _race(self, kind: Kind) -> Any:
        texts = sample(kind, self._plan.rows_of(kind))
        return race.race(
            kind,
            texts,
            self._prepared,
            self._engines,
            rounds=self._plan.rounds,
            between=self._peak.sample,
        )

    def _budgets(self, kind: Kind) -> Any:
        texts = sample(kind, self._plan.rows_of(kind))
        return budgets.sweep(kind, texts, self._prepared.member, self._engines, self._plan.budgets)

    def _serving(self) -> Any:
        requests = self._plan.requests * (self._plan.rounds + 1)
        return latency.measure(
            self._prepared,
            self._prepared.pipelines["snippets", "auto"],
            self._main,
            list(dict.fromkeys(sample("snippets", 2 * requests)))[:requests],
            rounds=self._plan.rounds,
            between=self._peak.sample,
        )

    def _served(self) -> Iterator[dict[str, Any]]:
        """Yield the models under load that are done so far; there are none on a GPU."""
        done = []
        for model in self._plan.load.models:
            if (model.kind, model.precision) in self._prepared.served:
                done.append(compare(model, self._plan.load, self._prepared))
                yield {"served": tuple(done)}

    def _cores(self) -> Any:
        return growth.measure_cores(
            self._prepared,
            self._prepared.main,
            sample("snippets", self._plan.core_rows),
            MAX_TOKENS["snippets"],
            rounds=self._plan.rounds,
        )

    def _flow(self) -> Any:
        uri = self._prepared.pipelines["snippets", "auto"]
        texts = sample("snippets", self._plan.flow_rows)
        return flow.measure(
            texts,
            write_files(texts, self._prepared.scratch / "flow", self._plan.flow_files),
            self._main,
            flow.Scoring(self._prepared, uri),
            rounds=self._plan.rounds,
            between=self._peak.sample,
        )

    def _growth(self) -> Any:
        uri = self._prepared.pipelines["snippets", "auto"]
        scoring = flow.Scoring(self._prepared, uri)
        folder = self._prepared.scratch / "growth"
        return growth.measure(self._plan, scoring, folder, self._peak.sample)

    def _cascade(self, kind: Kind) -> Any:
        return compositions.measure_cascade(kind, self._plan, self._prepared, self._peak.sample)

    def _route(self) -> Any:
        return compositions.measure_route(self._plan, self._prepared, self._peak.sample)
