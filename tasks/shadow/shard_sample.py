"""Answer the sample of a shard, and publish it as a shard of the shadow's folder."""

from pathlib import Path

from tasks.output.folder import STAGING
from tasks.output.records import ShardRecord
from tasks.scoring.shard_scorer import score_rows
from tasks.scoring.types import ScoringParameters
from tasks.shadow.sampling import write_sample
from tasks.staging.lookups import look_up_rows
from tasks.staging.types import StagedShard
from tasks.tracking.pipeline_loader import load_logic


def answer_sample(record: ShardRecord, source: Path, parameters: ScoringParameters) -> ShardRecord:
    """Answer the rows of the sample, and publish predictions, rejects and record.

    Args:
        record: Of the shard, as the run published it.
        source: The output folder that it is in.
        parameters: What `shadow_parameters` returned.

    Raises:
        DataError: If a table of the shard cannot be read.
        ModelError: If the model cannot be loaded.
        OutputError: If the folder is full or may not be written.
        StoppedError: If the run is cancelled.
    """
    folder, shard = parameters.output_dir, record.shard
    staged = StagedShard(
        rows=folder / STAGING / f"{shard.id}.arrow",
        lookups=(
            {
                lookup.name: folder / STAGING / f"{shard.id}.{lookup.name}.arrow"
                for lookup in (
                    parameters.model.business.lookups if parameters.model.business else ()
                )
            },
        ),
    )
    try:
        write_sample(source, record, parameters.rows.sample, staged.rows, folder)
        if (logic := load_logic(parameters.model.uri)) is not None:
            for name, target in staged.lookups[0].items():
                look_up_rows(logic, name, staged.rows, target, folder)
        return score_rows(shard, staged, parameters)
    finally:
        for path in staged.files:
            path.unlink(missing_ok=True)
