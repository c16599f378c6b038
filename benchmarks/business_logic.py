"""`python -m benchmarks.business_logic`: what look-ups and rules cost, beside a model without them.

Two versions of one fine-tuned MiniLM score the same rows in turns, one of them with two look-ups in
PostgreSQL and rules. Then a changed rule decides the rows anew, from the cache. Then both are
served, and asked in turns. All state is under `var/bench/business`.
"""

import argparse
import csv
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, LiteralString

import psycopg
from rich.console import Console

from benchmarks.machine import describe
from benchmarks.serving.processes import served
from benchmarks.texts import sample
from pyfunc.business.addresses import source_variable
from pyfunc.cache.contents import drop_entries
from tasks.common.settings import get_settings
from tests.support.postgres import running_postgres

_TEXTS = 50  # of requests: each is in the cache after the first time
_WARM_UP_REQUESTS = 2 * _TEXTS

KEYS = 100_000  # of each table
TABLES: tuple[LiteralString, ...] = (
    """
    create table customer as select i as id,
        case when i % 10 = 0 then 'gold' else 'basic' end as tier, i % 50 = 0 as opted_out
    from generate_series(1, 100000) i
    """,
    """
    create table purchase as select i as id,
        (i * 37 % 1000)::float as amount, now() - i * interval '1 minute' as placed
    from generate_series(1, 100000) i
    """,
)

LOOKUPS = [
    {
        "name": "customer",
        "source": "bench",
        "key": "customer_id",
        "query": "select id, tier, opted_out from customer where id in :keys",
    },
    {
        "name": "purchase",
        "source": "bench",
        "key": "order_id",
        "query": "select id, amount, placed from purchase where id in :keys",
    },
]

RULES = """
import pandas as pd


def before(rows):
    return rows["customer.opted_out"].fillna(False).map({True: "opted out", False: ""})


def after(rows):
    urgent = (rows["prediction_label"] == "negative") & (rows["customer.tier"] == "gold")
    large = rows["purchase.amount"] > LIMIT
    return pd.DataFrame({"queue": (urgent | large).map({True: "urgent", False: "standard"})})
"""


def main() -> None:
    """Build the versions, score, decide anew, serve, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="rows to score")
    parser.add_argument("--rounds", type=int, default=2, help="cold runs of each version")
    parser.add_argument("--requests", type=int, default=300, help="requests of each kind")
    given = parser.parse_args()
    home = get_settings().root / "bench" / "business"
    os.environ["MILLSTREAM_HOME"] = str(home)
    get_settings.cache_clear()
    with running_postgres() as server:
        address = server.new_database()
        os.environ[source_variable("bench")] = address
        _fill(address)
        versions = _build(home)
        inputs = _write_rows(home / "rows.csv", given.rows)
        figures = _score(home, versions, inputs, given.rounds)
        figures |= _serve(home, versions, address, given.requests)
    figures["rows"] = given.rows
    machine = describe()
    (home / "results.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    Console().print(f"{machine.cpu}, {machine.cores} cores: {' '.join(machine.cpu_flags)}")
    Console().print_json(data=figures)


def _fill(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in TABLES:
            connection.execute(statement)
        for table in ("customer", "purchase"):
            connection.execute(f"alter table {table} add primary key (id)".encode())
            connection.execute(f"analyze {table}".encode())


def _build(home: Path) -> dict[str, str]:
    """Return the versions: `looked_up` has look-ups alone, `changed` another rule."""
    from prefect.server.api.server import SubprocessASGIServer

    from flows.build_inference_pipeline import build_inference_pipeline
    from flows.train_classifier import train_classifier

    SubprocessASGIServer().start()  # one server for all flows
    trained = train_classifier(sample_size=4_000)
    members = {"film": {"model": trained["finetuned_model"]}}
    versions = {}
    for name, limit in (
        ("plain", None),
        ("looked_up", None),
        ("decided", 990),
        ("changed", 900),
    ):
        composition: dict[str, Any] = {"members": members, "answer": "film"}
        if name != "plain":
            composition |= {"lookups": LOOKUPS}
        if limit is not None:
            rules = home / f"{name}_rules.py"
            rules.write_text(RULES.replace("LIMIT", str(limit)), encoding="utf-8")
            composition |= {"rules": rules.name}
        file = home / f"{name}.yaml"
        file.write_text(json.dumps(composition), encoding="utf-8")  # JSON is YAML
        built = build_inference_pipeline(composition=str(file), promotion="always")
        versions[name] = built["inference_pipeline_model"]
    return versions


def _write_rows(path: Path, rows: int) -> str:
    """Write distinct snippets with keys, of which some have no row."""
    texts, chosen = sample("snippets", rows), random.Random(19)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "customer_id", "order_id"])
        for number in range(rows):
            text = f"{texts[number % len(texts)]} ({number})"
            keys = (chosen.randrange(1, KEYS + KEYS // 20) for _ in range(2))
            writer.writerow([text, *keys])
    return str(path)


def _score(home: Path, versions: Mapping[str, str], inputs: str, rounds: int) -> dict[str, Any]:
    from tasks.tracking.pipeline_loader import load_typed_pipeline

    fingerprints = {load_typed_pipeline(versions[n]).fingerprint for n in ("plain", "decided")}
    (fingerprint,) = fingerprints  # rules are outside of it
    seconds: dict[str, list[float]] = {"plain": [], "decided": []}
    for number in range(rounds):
        order = ("plain", "decided") if number % 2 == 0 else ("decided", "plain")
        for name in order:
            drop_entries(home / "prediction-cache", [fingerprint])
            shutil.rmtree(home / "scored", ignore_errors=True)
            seconds[name].append(_run(versions[name], inputs, home / "scored" / name)[0])
    # The last cold run may have been the plain one.
    if not (home / "scored" / "decided").exists():
        _run(versions["decided"], inputs, home / "scored" / "decided")
    warm, summary = _run(versions["changed"], inputs, home / "scored" / "decided")
    return {
        "cold_seconds": seconds,
        "cold_ratio": median(seconds["decided"]) / median(seconds["plain"]),
        "warm_seconds": warm,
        "warm_rows_per_second": summary["rows_in"] / warm,
        "warm_rows_per_second_of_summary": summary["rows_per_second"],
        "warm_model_calls": summary["model_calls"],
        "warm_because": summary["scored_because"],
    }


def _run(version: str, inputs: str, output: Path) -> tuple[float, dict[str, Any]]:
    from flows.score_shards import score_shards

    started = time.perf_counter()
    summary = score_shards([inputs], str(output), model_uri=version, report_examples=0)
    return time.perf_counter() - started, summary


def _serve(home: Path, versions: Mapping[str, str], address: str, requests: int) -> dict[str, Any]:
    """Time requests with and without look-ups in turns, and the queries alone."""
    served_versions = ("plain", "looked_up", "decided")
    times: dict[str, list[float]] = {name: [] for name in (*served_versions, "queries")}
    chosen = random.Random(7)
    with ExitStack() as stack:
        ask = {
            name: stack.enter_context(served(versions[name], home / "serving" / name))
            for name in served_versions
        }
        queries = stack.enter_context(_queries(address))
        for number in range(_WARM_UP_REQUESTS + requests):
            text = f"a film that was asked for, number {number % _TEXTS}"
            keys = {"customer_id": chosen.randrange(1, KEYS), "order_id": number + 1}
            turns: dict[str, Callable[[], Any]] = {
                "plain": lambda: ask["plain"](text),  # noqa: B023 -- called at once
                "looked_up": lambda: ask["looked_up"](text, **keys),  # noqa: B023
                "decided": lambda: ask["decided"](text, **keys),  # noqa: B023
                "queries": lambda: queries(keys),  # noqa: B023
            }
            for name, turn in turns.items():
                started = time.perf_counter()
                turn()
                if number >= _WARM_UP_REQUESTS:
                    times[name].append(1_000 * (time.perf_counter() - started))
    medians = {name: median(found) for name, found in times.items()}
    beside = medians["plain"] + medians["queries"]
    return {
        "served_median_ms": medians,
        "look_ups_add_beyond_queries_ms": medians["looked_up"] - beside,
        "with_rules_ms": medians["decided"] - beside,
    }


@contextmanager
def _queries(address: str) -> Iterator[Any]:
    """Yield a function that makes the queries of a request alone, one after the other."""
    with psycopg.connect(address, autocommit=True) as connection:

        def run(keys: Mapping[str, int]) -> None:
            for lookup in LOOKUPS:
                query = lookup["query"].replace(":keys", "(%s)")
                connection.execute(query.encode(), [keys[lookup["key"]]]).fetchall()

        yield run


if __name__ == "__main__":
    main()
