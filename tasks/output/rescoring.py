"""Whether a shard has to be scored again, and why."""

from pathlib import Path

from tasks.common.files import sha256_of
from tasks.output.records import FOLDERS, Shard, ShardRecord, read_record, table_path
from tasks.output.row_parameters import RowParameters

RANGE_CHANGED = "the row range changed"


def rescore_reason(
    output_dir: Path,
    shard: Shard,
    fingerprint: str,
    parameters: RowParameters,
    rules_digest: str = "",
) -> tuple[str, ShardRecord | None]:
    """Return why a shard has to be scored, and its record; the reason is empty if it is done.

    Args:
        output_dir: The output folder.
        shard: The shard as planned now.
        fingerprint: That of the requested pipeline.
        parameters: The requested ones.
        rules_digest: That of the requested pipeline's look-ups and rules.
    """
    try:
        record = read_record(output_dir, shard.id)
    except ValueError:
        return "its record is damaged", None
    if record is None:
        return "new", None
    differences = {
        "the input changed": record.shard.sha256 == shard.sha256,
        "separator, encoding or header changed": record.shard.read_as == shard.read_as,
        RANGE_CHANGED: (record.shard.first_row, record.shard.rows) == (shard.first_row, shard.rows),
        "the model changed": record.fingerprint == fingerprint,
        "the rules changed": record.rules_digest == rules_digest,
        "look-ups failed": not record.counts.lookup_failures,
        "the split changed": record.parameters.traffic == parameters.traffic,
        "the parameters changed": record.parameters.is_equivalent(parameters),
    }
    reasons = [reason for reason, same in differences.items() if not same]
    return (reasons[0] if reasons else _damage_reason(output_dir, record)), record


def _damage_reason(output_dir: Path, record: ShardRecord) -> str:
    for folder in FOLDERS:
        path = table_path(output_dir, folder, record.shard.id)
        if not path.is_file():
            return f"its {folder} file is missing"
        if sha256_of(path) != record.files.get(folder):
            return f"its {folder} file was altered"
    return ""
