"""The look-ups of a shard: run for its staged rows, and passed on as Arrow files."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from pyfunc.business.logic import BusinessLogic
from tasks.output.tables import extract_texts, select_readable
from tasks.staging.arrow_files import read_staged, write_staged


def look_up_rows(
    logic: BusinessLogic, name: str, staged: Path, target: Path, output_dir: Path
) -> None:
    """Look up the keys of staged rows, and write what is found, a row for each readable row.

    Args:
        logic: The business logic of the pipeline.
        name: The look-up.
        staged: The rows.
        target: The file that gets what is found.
        output_dir: Folder of the output, which both are in.

    Raises:
        OutputError: If the file cannot be written.
    """
    (spec,) = (lookup for lookup in logic.spec.lookups if lookup.name == name)
    tables = (
        logic.look_up(name, extract_texts(select_readable(rows), spec.key))
        for rows in read_staged(staged)
    )
    write_staged(tables, target, output_dir)


def read_lookups(files: Mapping[str, Path]) -> dict[str, pa.Table]:
    """Return what `look_up_rows` wrote, by the name of each look-up."""
    return {name: pa.concat_tables(read_staged(path)) for name, path in files.items()}
