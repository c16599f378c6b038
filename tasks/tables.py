"""Labelled tables: CSV, TSV, JSONL and Parquet files, read whole and without changing a cell.

Files to score are read as streams instead, by `tasks.ingestion.table_reader`.
"""

import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from tasks.common.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

# A row must lie in one block, and row numbers in messages count from the start of theirs.
_BLOCK_BYTES = 2**30


def read_table(path: Path) -> pa.Table:
    """Read a table; JSONL and Parquet columns keep their types, CSV cells are texts.

    Args:
        path: A file with one of `SUFFIXES`.

    Raises:
        OSError: If the file cannot be opened, which another attempt may mend.
        DataError: If it holds something else, or has two columns of one name.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}")
    _check_encoding(path)
    try:
        table = _read(path)
        table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        if getattr(error, "errno", None):
            raise
        # Arrow's own text may quote a key of a row.
        raise DataError(f"{path}: expected {_kind(path)} ({_in_one_line(error)})") from None
    counts = Counter(table.column_names)
    twice = [n for n, name in enumerate(table.column_names, start=1) if counts[name] > 1]
    if twice:
        # Numbers, not names: without a header line the names are the first row's text.
        raise DataError(f"{path}: the columns {twice} share a name; expected different names")
    return table


def _check_encoding(path: Path) -> None:
    # Opened here, since Arrow's errors do not tell a missing file from a broken one.
    with path.open("rb") as file:
        if path.suffix.lower() == ".parquet":
            return
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: line {number} is not UTF-8; expected UTF-8") from error


def _read(path: Path) -> pa.Table:
    match path.suffix.lower():
        case ".parquet":
            return pyarrow.parquet.ParquetFile(path).read()
        case ".jsonl":
            return _read_jsonl(path)
        case _:
            return _read_csv(path)


def _read_csv(path: Path) -> pa.Table:
    names = _parse_csv(path, {}).column_names
    return _parse_csv(path, dict.fromkeys(names, pa.string()))


def _parse_csv(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    misshapen: list[pa.csv.InvalidRow] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        misshapen.append(row)
        return "skip"

    table = pyarrow.csv.read_csv(
        path,
        # Threads would lose the numbers of the rows.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t" if path.suffix.lower() == ".tsv" else ",",
            newlines_in_values=True,
            # Arrow's own message would quote the row.
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types,
            strings_can_be_null=False,
        ),
    )
    if misshapen:
        first = misshapen[0]
        raise DataError(
            f"{path}: row {first.number - 1}: number of cells {first.actual_columns}; "
            f"expected {first.expected_columns}, as in the header"
        )
    return table


def _read_jsonl(path: Path) -> pa.Table:
    table = _parse_jsonl(path, pa.schema([]))
    # Arrow takes texts such as "2026-01-01" for times.
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if not times:
        return table
    as_texts = _parse_jsonl(path, pa.schema([(name, pa.string()) for name in times]))
    return as_texts.select(table.column_names)


def _parse_jsonl(path: Path, known: pa.Schema) -> pa.Table:
    return pyarrow.json.read_json(
        path,
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=known),
    )


def _kind(path: Path) -> str:
    return f"a {path.suffix[1:].upper()} table"


def _in_one_line(error: Exception) -> str:
    # Arrow counts rows of JSONL from 0, those of CSV from 1 and with the header.
    reason = re.sub(r"Column\(.*\)", "a column", str(error), flags=re.DOTALL)
    reason = re.sub(r"in row (\d+)", lambda found: f"in row {int(found[1]) + 1}", reason)
    reason = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", reason)
    return " ".join(reason.split())
