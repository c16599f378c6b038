"""The two Arrow tables of a shard: its predictions and its rejected rows."""

from collections.abc import Sequence

import pyarrow as pa

from pyfunc.contract import Answer, Outcome
from tasks.common.arrow import python_values
from tasks.common.text import columns_called
from tasks.output.records import (
    ADDED_COLUMNS,
    DECIDER_COLUMN,
    FLAG_COLUMN,
    MEMBERS_COLUMN,
    REJECTED_COLUMNS,
    REVIEW_COLUMN,
    REVIEWED_COLUMN,
    SCORES_COLUMN,
    Shard,
)
from tasks.output.row_parameters import RowParameters

_SCORES = pa.map_(pa.string(), pa.float64())
_MEMBERS = pa.list_(
    pa.struct(
        [
            ("name", pa.string()),
            ("uri", pa.string()),
            ("label", pa.string()),
            ("score", pa.float64()),
        ]
    )
)


def extract_texts(rows: pa.Table, text_column: str) -> list[object]:
    """Return the values of a column as Python objects, see `python_values`.

    Args:
        rows: Rows without a read error; if there are none, the column may be missing.
        text_column: What the column is called; case and outer blanks do not count.
    """
    if not rows.num_rows:
        return []
    return python_values(rows[columns_called(rows.column_names, text_column)[0]])


def select_readable(rows: pa.Table) -> pa.Table:
    """Return the staged rows without a read error."""
    reasons = rows["reason"].to_pylist()
    return take_rows(rows, [place for place, reason in enumerate(reasons) if reason is None])


def build_predictions(
    shard: Shard,
    rows: pa.Table,
    outcomes: Sequence[Outcome],
    parameters: RowParameters,
    *,
    is_composed: bool = False,
    added: pa.Table | None = None,
) -> pa.Table:
    """Return the rows with a prediction: their own columns, then `PREDICTION_COLUMNS`.

    With `all_scores`, a map has the probability of each label by its name. With the policy `flag`,
    a column marks rows in a foreign language, and with `review_below` another one those whose score
    is below it. Of a composed pipeline, two columns have the member that decided, and a list of
    what each member that saw the text predicted; both are null of an answer by a single model. The
    last are those that look-ups and rules add.

    Args:
        shard: The shard of the rows.
        rows: The readable rows, as staged.
        outcomes: One for each of `rows`.
        parameters: The policy, below which score a row is to be reviewed, and whether each label
            gets its probability.
        is_composed: Whether a composed pipeline answers.
        added: What look-ups and rules add to each of `rows`.
    """
    places = [place for place, outcome in enumerate(outcomes) if outcome.answer is not None]
    sources = [outcomes[place].source for place in places]
    answers = [answer for outcome in outcomes if (answer := outcome.answer) is not None]
    table = take_rows(rows, places)
    columns = {
        "shard": _repeat(shard.id, len(answers)),
        "row": table["row"],
        "prediction_label": pa.array([a.prediction.label for a in answers], pa.string()),
        "prediction_score": pa.array([a.prediction.score for a in answers], pa.float64()),
        "language_detected": pa.array([a.language.code for a in answers], pa.string()),
        "language_reliable": pa.array([a.language.reliable for a in answers], pa.bool_()),
        "truncated": pa.array([a.prediction.truncated for a in answers], pa.bool_()),
        "cached": pa.array([source != "computed" for source in sources], pa.bool_()),
        "finetuned_model_uri": pa.array(
            [a.provenance.finetuned_model_uri for a in answers], pa.string()
        ),
        "inference_pipeline_model_uri": pa.array(
            [a.provenance.inference_pipeline_model_uri for a in answers], pa.string()
        ),
    }
    if parameters.all_scores:
        scores = [list((a.prediction.scores or {}).items()) for a in answers]
        columns[SCORES_COLUMN] = pa.array(scores, _SCORES)
    language, below = parameters.language, parameters.review_below
    if language.policy == "flag":
        columns[FLAG_COLUMN] = pa.array(
            [language.is_foreign(a.language) for a in answers], pa.bool_()
        )
    if below:
        columns[REVIEW_COLUMN] = pa.array([a.prediction.score < below for a in answers], pa.bool_())
    if is_composed:
        columns[DECIDER_COLUMN] = pa.array([a.decided_by or None for a in answers], pa.string())
        columns[MEMBERS_COLUMN] = pa.array([_members(a) for a in answers], _MEMBERS)
    table = table.select(_own_columns(table))
    if added is not None:
        taken = added.take(pa.array(places, pa.int64()))
        columns |= dict(zip(taken.column_names, taken.columns, strict=True))
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def select_review(predictions: pa.Table) -> pa.Table:
    """Return the predictions that need a review: input columns, place, answer, room for a label.

    Args:
        predictions: Those of a shard, with the column `REVIEW_COLUMN`.
    """
    marks = predictions[REVIEW_COLUMN].to_pylist()
    rows = take_rows(predictions, [place for place, marked in enumerate(marks) if marked])
    own = [name for name in rows.column_names if name not in ADDED_COLUMNS]
    rows = rows.select([*own, "shard", "row", "prediction_label", "prediction_score"])
    return rows.append_column(REVIEWED_COLUMN, pa.nulls(rows.num_rows, pa.string()))


def build_rejected(shard: Shard, rows: pa.Table, outcomes: Sequence[Outcome]) -> pa.Table:
    """Return the rows without a prediction: their own columns, then `REJECTED_COLUMNS`.

    Args:
        shard: The shard of the rows.
        rows: All rows, as staged; rows with a read error have a reason already.
        outcomes: One for each row without a reason.
    """
    steps, reasons = rows["step"].to_pylist(), rows["reason"].to_pylist()
    remaining = iter(outcomes)
    for place, reason in enumerate(reasons):
        if reason is None and (refusal := next(remaining).refusal):
            steps[place], reasons[place] = refusal.step, refusal.reason
    table = rows.drop_columns(["step", "reason"])
    table = table.append_column("step", pa.array(steps, pa.string()))
    table = table.append_column("reason", pa.array(reasons, pa.string()))
    table = take_rows(table, [place for place, reason in enumerate(reasons) if reason is not None])
    own = _own_columns(table)
    table = table.append_column("shard", _repeat(shard.id, table.num_rows))
    return table.select([*own, *REJECTED_COLUMNS])


def _members(answer: Answer) -> list[tuple[str, str, str, float]] | None:
    return [(m.name, m.uri, m.label, m.score) for m in answer.members] or None


def _own_columns(rows: pa.Table) -> list[str]:
    return [name for name in rows.column_names if name not in REJECTED_COLUMNS]


def take_rows(rows: pa.Table, places: Sequence[int]) -> pa.Table:
    """Return some rows, in the order of `places`, counted from 0; types stay as they are."""
    indices = pa.array(places, pa.int64())
    columns = [
        _take_by_slices(column, places)
        if _holds_views(column.type)
        else column.cast(_without_view(column.type)).take(indices).cast(column.type)
        for column in rows.columns
    ]
    return pa.Table.from_arrays(columns, schema=rows.schema)


# Arrow has no `take` for views yet, and its casts of types that hold some end the process:
# https://github.com/apache/arrow/issues/43010


def _without_view(kind: pa.DataType) -> pa.DataType:
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(
        kind, kind
    )


def _holds_views(kind: pa.DataType) -> bool:
    """Return whether a type has views within, as a list of texts may."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return any(_without_view(part) != part or _holds_views(part) for part in inner)


def _take_by_slices(column: pa.ChunkedArray, places: Sequence[int]) -> pa.ChunkedArray:
    slices: list[list[int]] = []  # of rows next to each other: the first, and how many
    for place in places:
        if slices and place == sum(slices[-1]):
            slices[-1][1] += 1
        else:
            slices.append([place, 1])
    chunks = [chunk for start, rows in slices for chunk in column.slice(start, rows).chunks]
    return pa.chunked_array(chunks, column.type)


def _repeat(value: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), rows)
