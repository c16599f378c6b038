"""A process that delivers an output folder: `python -m tests.support.delivering FOLDER`.

The address of the database is in MILLSTREAM_SOURCE_CRM. It prints a line before the first delivery.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

from tasks.delivery.checks import prepare_target, prove_delivery, remove_obsolete
from tasks.delivery.shard_delivery import deliver_shard
from tasks.output.records import read_records, table_path
from tasks.sources.addresses import require_address
from tests.support.deliveries import TARGET

THREADS = 3


def deliver_all(output: Path) -> None:
    """Deliver as a run does: the table is made, obsolete shards go, and the end is proved."""
    address = require_address(TARGET.source)
    records = sorted(read_records(output), key=lambda record: record.shard.id)
    expected = {record.shard.id: record.shard.rows for record in records}
    tables = {r.shard.id: table_path(output, "predictions", r.shard.id) for r in records}
    prepare_target(TARGET, address, {name: pq.read_schema(path) for name, path in tables.items()})
    remove_obsolete(TARGET, address, {r.shard.file_id for r in records}, expected.keys())
    with ThreadPoolExecutor(THREADS) as threads:
        work = [
            threads.submit(deliver_shard, record, output, TARGET, address) for record in records
        ]
    for delivery in work:
        delivery.result()
    prove_delivery(TARGET, address, expected)


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    deliver_all(Path(sys.argv[1]))
