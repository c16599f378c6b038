"""Types of staging: where the rows of a shard and their look-ups are."""

from pathlib import Path

from tasks.common.parameter_types import FrozenModel


class StagedShard(FrozenModel):
    """Where the rows of a shard are that is to be scored.

    Attributes:
        rows: Where `tasks.staging.arrow_files.write_staged` put them.
        lookups: Where `tasks.staging.lookups.look_up_rows` put what the look-ups of each arm found,
            by their names.
    """

    rows: Path
    lookups: tuple[dict[str, Path], ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All of its files."""
        return (self.rows, *(path for found in self.lookups for path in found.values()))
