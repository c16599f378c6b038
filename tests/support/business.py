"""A pipeline with look-ups and rules for tests: support tickets and a table of customers."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tasks.building import prefect_tasks as building
from tasks.composition.types import PipelinePlan

RULES = """
import pandas as pd


def before(rows):
    return rows["customer.opted_out"].fillna(False).map({True: "opted out", False: ""})


def after(rows):
    urgent = (rows["prediction_label"] == "negative") & (rows["customer.tier"] == "gold")
    queue = urgent.map({True: "urgent", False: None})
    return pd.DataFrame({"queue": queue, "priority": urgent.astype(int)})


def deliver(rows):
    return rows["decision_queue"].notna()
"""

LOOKUPS = """
lookups:
  - name: customer
    source: crm
    key: customer_id
    query: select id, tier, opted_out from customer where id in :keys
    missing: null
    timeout_ms: 2000
rules: ticket_rules.py
"""

CUSTOMERS = ((1, "gold", False), (2, "basic", False), (3, "gold", True))


def write_customers(path: Path, customers: Sequence[tuple[int, str, bool]] = CUSTOMERS) -> Path:
    """Write a database of SQLite with a table of customers."""
    with sqlite3.connect(path) as connection:
        connection.execute("drop table if exists customer")
        connection.execute(
            "create table customer (id integer primary key, tier text, opted_out boolean)"
        )
        connection.executemany("insert into customer values (?, ?, ?)", customers)
    connection.close()
    return path


def write_composition(
    folder: Path, finetuned_model: str, *, lookups: str = LOOKUPS, rules: str = RULES
) -> Path:
    """Write a composition file of one model with look-ups and rules, and the rules beside it."""
    (folder / "ticket_rules.py").write_text(rules)
    path = folder / "tickets.yaml"
    model = f"{{model: {finetuned_model}, engine: torch, precision: f32}}"
    path.write_text(f"members:\n  film: {model}\nanswer: film\n{lookups}")
    return path


def build_with_rules(composition: Path) -> str:
    """Build and register what a composition file describes, without the check in a new process."""
    plan: PipelinePlan = building.plan_composition.fn(str(composition))
    logged = building.log_pipeline.fn(plan)
    return building.register_pipeline.fn(logged).uri
