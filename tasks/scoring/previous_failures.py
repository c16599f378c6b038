"""Failures of earlier runs into an output folder, read from its manifest."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.common.errors import ParameterError
from tasks.common.files import read_plain_file
from tasks.inputs.input_files import is_gone
from tasks.output.records import Shard, ShardRecord
from tasks.scoring.types import ShardOutcome

logger = logging.getLogger(__name__)


class Failure(BaseModel):
    """A shard, or a file that cannot be read, that failed and is not done since.

    Attributes:
        id: The shard's, or the file's.
        file_id: The file's.
        source: The file's name.
        error: Why it failed; empty in the manifest's list of all shards if it did not.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    file_id: str
    source: str
    error: str


class _Manifest(BaseModel):
    shards: list[Failure]
    still_failed: list[Failure] = []


class EarlierRuns(BaseModel):
    """What a run that is for the failures of earlier ones has to know of them.

    Attributes:
        failed: Ids of shards and files.
        finished: Whether one of them came to its end; else what is not done counts as failed.
    """

    model_config = ConfigDict(frozen=True)

    failed: frozenset[str]
    finished: bool

    def retry_reason(self, shard: Shard, record: ShardRecord | None) -> str:
        """Return why such a run is for this shard; empty if it is not."""
        if self.failed & {shard.id, shard.file_id}:
            return "it failed before"
        if record is None:
            return "" if self.finished else "it was not done before"
        return "it has rejected rows" if record.counts.rejected else ""


def read_earlier_runs(output_dir: Path) -> EarlierRuns:
    """Return what failed in an output folder and is not done since.

    Raises:
        ParameterError: If there was no earlier run, or its manifest cannot be read.
    """
    try:
        failures = _read_failures(output_dir)
    except FileNotFoundError as error:
        if not any((output_dir / "records").glob("*.json")):
            raise ParameterError(
                f"only_failed: {output_dir} has neither a manifest nor records; expected the "
                "output of an earlier run"
            ) from error
        return EarlierRuns(failed=frozenset(), finished=False)
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"only_failed: {output_dir / 'manifest.json'} cannot be read; expected the manifest "
            "of an earlier run"
        ) from error
    return EarlierRuns(failed=frozenset(failure.id for failure in failures), finished=True)


def remaining_failures(output_dir: Path, outcomes: Sequence[ShardOutcome]) -> Iterator[Failure]:
    """Yield what failed before and is no part of this run, or was left out of it.

    What failed of a file that is gone is forgotten.

    Args:
        output_dir: The output, with the manifest of the run before.
        outcomes: Those of this run.
    """
    try:
        failures = _read_failures(output_dir)
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        logger.warning("%s: its manifest cannot be read; what failed is forgotten", output_dir)
        return
    met = {outcome.id for outcome in outcomes if not outcome.left}
    left = {outcome.file_id for outcome in outcomes if outcome.left}
    others = {outcome.file_id for outcome in outcomes} - left
    for failure in failures:
        known = failure.id in met or failure.file_id in others
        if not known and not is_gone(failure.source):
            yield failure


def _read_failures(output_dir: Path) -> list[Failure]:
    manifest = _Manifest.model_validate_json(read_plain_file(output_dir / "manifest.json"))
    return [shard for shard in manifest.shards if shard.error] + manifest.still_failed
