"""What look-ups and rules added to a row, and whether the rules say the same again."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pyfunc.business.column_types import to_schema
from pyfunc.contract import Answer, Language, Prediction, Provenance
from tasks.common.errors import ModelError
from tasks.common.text import columns_called
from tasks.output.records import DECIDER_COLUMN
from tasks.output.row_parameters import RowParameters
from tasks.output.tables import extract_texts
from tasks.tracking.pipeline_loader import load_typed_pipeline


def business_fields(row: pa.Table, parameters: RowParameters) -> dict[str, Any]:
    """Return the input columns that look-ups and rules read of a row, and what they added.

    A rejected row has nothing that they added; of one of JSONL that could not be read, and of all
    beside it, no column may be known.

    Args:
        row: The row.
        parameters: Those that it was scored with.
    """
    columns = (*parameters.business_columns, *parameters.added_columns)
    return {
        name: extract_texts(row, name)[0]
        for name in columns
        if columns_called(row.column_names, name)
    }


def replay_rules(
    chain: Mapping[str, Any], parameters: RowParameters, text: object
) -> tuple[object, dict[str, str]]:
    """Apply the rules that decided a row again, to what was looked up and predicted then.

    Args:
        chain: The row's lineage.
        parameters: Those that it was scored with.
        text: Its text.

    Returns:
        What the model read of the row, and what a verification reports.

    Raises:
        ModelError: If the rules refuse the row now, or decide otherwise.
    """
    pipeline: Any = load_typed_pipeline(chain["asked_version"])
    place = f"{chain['shard']} row {chain['row']}: {chain['asked_version']}"
    types = pipeline.logic.spec.added_columns
    stored = pa.table({name: [chain[name]] for name in types}, schema=to_schema(types))
    replay = pipeline.replay(
        [text],
        columns={name: [chain[name]] for name in parameters.business_columns},
        stored=stored,
        answers=[_stored_answer(chain)],
    )
    if refusal := replay.outcomes[0].refusal:
        raise ModelError(f"{place}: the rules refuse the row now ({refusal.reason})")
    for name in types:
        now, then = replay.columns[name][0].as_py(), stored[name][0].as_py()
        if now != then:
            raise ModelError(f"{place}: {name} is {now!r} now; expected {then!r}")
    return replay.texts[0], {"decision_verified": "same decisions, from what was looked up then"}


def _stored_answer(chain: Mapping[str, Any]) -> Answer:
    """Return the answer of a row, as far as rules see it."""
    return Answer(
        Prediction(chain["prediction_label"], chain["prediction_score"], chain["truncated"]),
        Language(chain["language_detected"], chain["language_reliable"], probability=0.0),
        Provenance(chain["finetuned_model_uri"], chain["inference_pipeline_model_uri"]),
        decided_by=chain.get(DECIDER_COLUMN) or "",
    )
