"""Measure two versions on the same texts: rows per second, time of a batch, and memory."""

from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import pyarrow.parquet as pq

from tasks.common.text import columns_called
from tasks.comparison.types import Speed
from tasks.output.records import read_records, table_path
from tasks.tracking.fresh_process import run_with_version

# Of texts; more would tell the same of a version.
MOST_TEXTS = 512

_SHARDS = 16  # or a few more, of which texts are taken

_TIMEOUT_S = 600
_SCRIPT = Path(__file__).with_name("speed_script.py")


def measure_speeds(present: str, other: str, texts: Sequence[str]) -> tuple[Speed, Speed]:
    """Measure two versions in turns, each twice, without the prediction cache.

    Each time is a process of its own, so that its memory is that of one version. The order is
    present, other, other, present: a machine that slows down meanwhile slows both.

    Args:
        present: The URI of the version that answers today.
        other: That of the other.
        texts: One or more; `MOST_TEXTS` of them count.

    Raises:
        ModelError: If a version cannot predict them in a process of its own.
    """
    found = [
        run_with_version(_SCRIPT, uri, texts[:MOST_TEXTS], timeout_s=_TIMEOUT_S)
        for uri in (present, other, other, present)
    ]
    return _speed(found[0], found[3]), _speed(found[1], found[2])


def sample_texts(output_dir: Path) -> list[str]:
    """Return up to `MOST_TEXTS` texts that were answered, of shards from all over a folder."""
    records = sorted(read_records(output_dir), key=lambda record: record.shard.id)
    texts: list[str] = []
    chosen = records[:: max(1, len(records) // _SHARDS)]
    for record in chosen:
        table = pq.ParquetFile(table_path(output_dir, "predictions", record.shard.id)).read()
        names = columns_called(table.column_names, record.parameters.text_column)
        # Recorded requests may be without text.
        found = table[names[0]].slice(0, -(-MOST_TEXTS // len(chosen))).drop_null()
        texts += found.to_pylist()
    return texts[:MOST_TEXTS]


def _speed(*rounds: dict[str, Any]) -> Speed:
    seconds = [batch for found in rounds for batch in found["batch_seconds"]]
    return Speed(
        rows_per_second=sum(found["rows"] for found in rounds) / sum(seconds),
        batch_p95_ms=1_000 * _p95(seconds),
        peak_mib=max(found["peak_bytes"] for found in rounds) / 2**20,
    )


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
