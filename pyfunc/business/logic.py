"""The business logic of a pipeline: its look-ups, all at the same time, and its rules."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from ..spec import business_folder
from .addresses import find_address
from .column_types import to_schema
from .frames import Columns
from .lookup import FAILED, PROBLEM, Lookup
from .rules import Rules, load_rules
from .spec import LOOKED_UP_AT, RULES_FILE, BusinessSpec, decision_column, digest_business

# Of a pipeline; a call that finds none free runs its look-ups itself.
_THREADS = 16


class PendingLookups:
    """Look-ups that run at the same time, and beside what the caller does meanwhile.

    Args:
        threads: Those that may run them.
        lookups: They, by name.
        columns: The input columns with their keys.
    """

    def __init__(
        self,
        threads: Executor,
        lookups: Mapping[str, Lookup],
        columns: Mapping[str, Sequence[object]],
    ) -> None:
        self._works = {
            name: partial(lookup.run, columns[lookup.spec.key]) for name, lookup in lookups.items()
        }
        self._futures = {name: threads.submit(work) for name, work in self._works.items()}

    def join(self) -> dict[str, pa.Table]:
        """Wait for all; what no thread has begun is run by the caller's.

        To wake a thread takes longer than a short query, where the cache answers at once.
        """
        own = {name: work() for name, work in self._works.items() if self._futures[name].cancel()}
        return {
            name: own[name] if name in own else future.result()
            for name, future in self._futures.items()
        }


class BusinessLogic:
    """The look-ups and rules of a pipeline.

    Attributes:
        spec: What they are.
        digest: SHA-256 of them.
        rules: The author's functions; None if there are none.
    """

    def __init__(self, spec: BusinessSpec, digest: str, rules: Rules | None, config: Any) -> None:
        self.spec = spec
        self.digest = digest
        self.rules = rules
        # Not at once: a process may learn an address after it loads the model.
        address = partial(find_address, model_config=config)
        self._lookups = {lookup.name: Lookup(lookup, address) for lookup in spec.lookups}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="millstream-lookup")

    @classmethod
    def open(cls, artifact: Path, model_config: Mapping[str, Any] | None) -> Self:
        """Open the business logic of an artifact.

        Raises:
            ArtifactError: If a file is missing or invalid.
        """
        spec = BusinessSpec.read(artifact)
        digest, rules = digest_business(artifact), None
        if spec.rules_file:
            module = load_rules(business_folder(artifact) / RULES_FILE, digest)
            rules = Rules(module, spec.rules_file, spec.decisions)
        return cls(spec, digest, rules, model_config)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that it adds to an output, in their order."""
        return to_schema(self.spec.added_columns)

    @cached_property
    def decision_columns(self) -> dict[str, str]:
        """The decisions of `after`, with their columns in an output."""
        return {name: decision_column(name) for name in self.spec.decisions}

    def has_rule(self, *names: str) -> bool:
        """Return whether the author wrote one of these functions."""
        return self.rules is not None and any(map(self.rules.has, names))

    def look_up(self, name: str, keys: Sequence[object]) -> pa.Table:
        """Look up the keys of rows; see `Lookup.run`."""
        return self._lookups[name].run(keys)

    def stored_lookups(self, stored: pa.Table) -> dict[str, pa.Table]:
        """Return the look-ups of rows whose added columns were stored, as `look_up` has them."""
        tables = {}
        for lookup in self.spec.lookups:
            schema = self._lookups[lookup.name].schema
            columns = {name: stored[lookup.output_column(name)] for name in lookup.columns}
            columns[LOOKED_UP_AT] = stored[LOOKED_UP_AT]
            columns[PROBLEM] = pa.nulls(stored.num_rows, pa.string())
            columns[FAILED] = pa.repeat(pa.scalar(False), stored.num_rows)
            tables[lookup.name] = pa.table([columns[name] for name in schema.names], schema=schema)
        return tables

    def start_lookups(self, columns: Columns) -> PendingLookups:
        """Start all look-ups at the same time."""
        return PendingLookups(self._threads, self._lookups, columns)


def refused_by_lookups(looked_up: Mapping[str, pa.Table], rows: int) -> list[str | None]:
    """Return why look-ups refuse rows; None for those that none refuses."""
    reasons: list[str | None] = [None] * rows
    for table in looked_up.values():
        for row, problem in enumerate(table[PROBLEM].to_pylist()):
            reasons[row] = reasons[row] or problem
    return reasons
