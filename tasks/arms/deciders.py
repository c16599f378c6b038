"""Count rows by the member that decided them, over versions whose members have other names.

Versions that answer alike share cache and output. One name can mean two members then, so that a
member of another version is named with it: `film of models:/m-…`.
"""

from collections.abc import Iterable

from tasks.arms.types import ScoringModel
from tasks.common.counting import sum_counts
from tasks.output.records import ArmRecord, ShardRecord

_OF = " of "


def name_now(name: str, computed_by: str, model: ScoringModel) -> str:
    """Return the name of a member in the counts of a run.

    Args:
        name: Its name in the version that computed the row.
        computed_by: That version, `models:/m-…`.
        model: The version of the run.
    """
    return name if computed_by == model.logged_uri else f"{name}{_OF}{computed_by}"


def count_deciders(
    records: Iterable[ShardRecord | ArmRecord], model: ScoringModel
) -> dict[str, int]:
    """Return the rows of shards by the member that decided, with names of now.

    Args:
        records: Those of the shards; another version may have scored some.
        model: The version of the run.
    """
    return sum_counts(
        {_of_record(name, record, model): rows for name, rows in record.deciders.items()}
        for record in records
    )


def _of_record(name: str, record: ShardRecord | ArmRecord, model: ScoringModel) -> str:
    member, _, computed_by = name.partition(_OF)
    # Earlier records have the registered version alone.
    known = model.logged_uri if record.model_uri == model.uri else record.model_uri
    return name_now(member, computed_by or record.logged_uri or known, model)
