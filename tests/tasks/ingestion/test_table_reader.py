import gzip
import hashlib
import json
import logging
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.common.errors import DataError
from tasks.common.settings import REPOSITORY
from tasks.dataset.labelled_rows import read_labelled
from tasks.ingestion.formats import MAX_COLUMNS
from tasks.ingestion.table_reader import PLACE, empty_block, read_blocks, read_columns, survey

pytestmark = pytest.mark.usefixtures("home")

SECRET = "the-text-of-a-row"
ROWS = [{"text": f"text {number}", "n": number} for number in range(2_500)]


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines))


def write_tsv(path: Path, rows: list[dict[str, Any]]) -> None:
    write_csv(path, rows, "\t")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    ".csv": write_csv,
    ".tsv": write_tsv,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}


@pytest.fixture(params=[kind + end for kind in WRITERS for end in ("", ".gz", ".zst")])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path, request.param, ROWS)


def written(folder: Path, ending: str, rows: list[dict[str, Any]]) -> Path:
    kind, compression = "." + ending.split(".")[1], ending.removeprefix("." + ending.split(".")[1])
    plain, path = folder / f"plain{kind}", folder / f"rows{ending}"
    WRITERS[kind](plain, rows)
    content = plain.read_bytes()
    if compression == ".gz":
        content = gzip.compress(content)
    if compression == ".zst":
        content = pa.Codec("zstd").compress(content, asbytes=True)
    path.write_bytes(content)
    return path


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


# What a survey says


def test_survey_says_what_the_file_is(path: Path) -> None:
    found = survey(path, ("text", "n"), ("other",), texts=("text",))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size == path.stat().st_size
    assert found.modified_ns == path.stat().st_mtime_ns
    assert found.rows == len(ROWS)
    assert found.arrow_schema == pa.schema([("text", pa.string()), ("n", pa.int64())])


def test_blocks_hold_all_rows_in_order(path: Path) -> None:
    found = survey(path, (), ())
    blocks = list(read_blocks(path, found))
    assert [block.num_rows for block in blocks] == [1_000, 1_000, 500]
    assert all(block.schema.equals(empty_block(found).schema) for block in blocks)
    table = pa.concat_tables(blocks)
    assert table.select(["text", "n"]).to_pylist() == ROWS
    assert table["row"].to_pylist() == list(range(1, 2_501))
    first = 1 if ".jsonl" in path.name else 2
    lines = [None] * 2_500 if ".parquet" in path.name else list(range(first, first + 2_500))
    assert table["line"].to_pylist() == lines
    assert table.schema.names == ["text", "n", *PLACE.names]


def test_empty_block_has_the_columns_alone(path: Path) -> None:
    empty = empty_block(survey(path, (), ()))
    assert empty.num_rows == 0
    assert empty.column_names == ["text", "n", *PLACE.names]


# Columns that must be there, or must not


def test_column_that_is_required_must_be_there_and_the_others_stay_unsaid(tmp_path: Path) -> None:
    for ending in WRITERS:
        path = written(tmp_path, ending, [{SECRET: "a", "n": 1}])
        with pytest.raises(DataError, match="no column 'text' among its 2;") as error:
            survey(path, ("n", "text"), ())
        assert str(error.value).startswith(f"{path}: ")
        assert SECRET not in str(error.value)


def test_reserved_columns_are_named_in_order(path: Path) -> None:
    with pytest.raises(DataError, match=r"the columns \['n', 'text'\] are reserved"):
        survey(path, (), ("text", "n", "other"))


@pytest.mark.parametrize("name", PLACE.names)
def test_columns_beside_the_input_are_always_reserved(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, ".jsonl", [{name: 1}])
    with pytest.raises(DataError, match=name):
        survey(path, (), ())


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_columns_of_one_name_are_told_by_their_numbers(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    names = ["a", SECRET, "b", SECRET]
    if ending == ".parquet":
        pq.write_table(pa.table([[1]] * 4, names=names), path)
    else:
        path.write_text(("," if ending == ".csv" else "\t").join(names))
    with pytest.raises(DataError, match=r"the columns \[2, 4\] share a name") as error:
        survey(path, (), ())
    assert SECRET not in str(error.value)


# Files that are no tables


@pytest.mark.parametrize(
    ("ending", "content", "cause"),
    [
        (
            ".jsonl",
            b'["the-text-of-a-row"]',
            "not an object; it is an array; expected an object on each line, or one array of obj",
        ),
        (".jsonl", b'{\n"text":\n"x"\n}\n', "probably has objects over several lines"),
        (
            ".csv",
            b"text,id\nthe-text-of-a-row \xe9,1\n\xe8,2\n",
            "not UTF-8; it is probably Latin-1",
        ),
        (".csv", b"text,id\nx;1\ny;2\n", "1 cells; expected 2; its header line has another"),
        (".csv", b'text\n"the-text-of-a-row\n', "a quote that is never closed; expected rows"),
        (
            ".jsonl",
            b'{"text": "x"},\n',
            "not JSON; it has a comma after an object; expected the ob",
        ),
        (".jsonl", b"},\n", "not JSON; it has a comma after an object; expected the object alone"),
        (".jsonl", b"{'text': 'x'}\n", "not JSON; it has single quotes; expected double quotes"),
        (".jsonl", b"{\"text\": 'x'}\n", "not JSON; it has single quotes; expected double quotes"),
        (".jsonl", b'{"text": "x",}\n', "it has a comma after the last value of an object"),
        (".jsonl", b'{"text": "x"} {"text": "y"}\n', "it has several objects; expected one on"),
        (".jsonl", b'{"text": "x\ty"}\n', "it has a control character, such as a tab, in a text"),
        (".jsonl", b'{"text": "x\n y"}\n', "probably has objects over several lines, or was cut"),
        (".jsonl", b'{"text": x}\n', "(line 1): not JSON; expected rows as its name says"),
        (".jsonl", b'{"text": ' + b"[" * 9_000 + b"\n", "nested too deeply; expected rows as its"),
        (
            ".jsonl",
            gzip.compress(b'{"text": "x"}\n', mtime=0),
            "it is probably gzip; expected a name that",
        ),
        (
            ".jsonl",
            '{"text": "x"}'.encode("utf-16-le"),
            "JSON; it is probably UTF-16; expected UTF-8, or --encoding utf-16-le",
        ),
    ],
)
def test_file_without_one_readable_row_is_refused_with_the_likely_cause(
    tmp_path: Path, ending: str, content: bytes, cause: str
) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(cause)) as error:
        survey(path, {"text"}, ())
    assert str(error.value).startswith(f"{path}: no row can be read, the first (line ")
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n".encode("utf-16-be"), " is probably UTF-16; expected UTF-8, or --encoding "),
        (
            gzip.compress(b"text,label\na,b\n", mtime=0),
            "(it is probably gzip; expected a name that ends with",
        ),
        (
            pa.compress(b"text,label\n", "zstd", asbytes=True),
            "(it is probably zstd; expected a name that ends with .zst)",
        ),
        (b"te\xe9t,label\n", "(it is probably Latin-1 or Windows-1252; expected UTF-8, or --enc"),
        (b'"text,label\n', "line 1: a quote that is never closed; expected a header line"),
        ("text,label\n".encode("utf-16-le"), " is probably UTF-16; expected UTF-8"),
        (b"PK\x03\x04,a\n1,2\n", "; the file is probably a zip archive or an Excel workbook"),
        (
            b"PAR1,a\n1,2\n",
            "; the file is probably Parquet; expected a name that ends with .parquet",
        ),
    ],
)
def test_header_line_of_another_kind_of_file_is_named_in_training_and_in_scoring(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    for read in (lambda: survey(path, {"text"}, ()), lambda: read_labelled([path])):
        with pytest.raises(DataError, match=re.escape(message)) as error:
            read()
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("ending", "separator", "named"),
    [(".tsv", ";", "';'"), (".tsv", ",", "','"), (".tsv", "|", "'|'"), (".csv", "\t", "tab")],
)
def test_another_separator_is_named_in_training_and_in_scoring(
    tmp_path: Path, ending: str, separator: str, named: str
) -> None:
    path = tmp_path / f"rows{ending}"
    # The rows do not have as many cells as the header line, so that a CSV is one of commas.
    path.write_text(f"text{separator}label\n{SECRET}\n{SECRET}\n")
    message = re.escape(f"separated by {named}? (--separator {named})") + "$"
    with pytest.raises(DataError, match=message):
        survey(path, {"text"}, ())
    with pytest.raises(DataError, match=message):
        read_labelled([path])


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("a\n1\n")
    with pytest.raises(DataError, match=r"unknown kind of file '.txt'; expected \.csv"):
        survey(path, (), ())


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl.gz", "none.parquet", "none.parquet.zst"])
def test_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        survey(tmp_path / name, (), ())


@pytest.mark.parametrize(
    "ending", [".parquet", *(kind + end for kind in WRITERS for end in (".gz", ".zst"))]
)
def test_truncated_file_is_refused_by_the_survey(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending, ROWS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=str(path)):
        survey(path, (), ())


# Files that change


def test_file_of_another_time_is_refused(path: Path) -> None:
    found = survey(path, (), ())
    touch(path)
    with pytest.raises(DataError, match="changed") as error:
        next(read_blocks(path, found))
    assert str(error.value).startswith(f"{path}: ")


def test_file_of_another_size_is_refused(path: Path) -> None:
    found = survey(path, (), ())
    modified = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"\n")
    os.utime(path, ns=(modified, modified))
    with pytest.raises(DataError, match="changed"):
        next(read_blocks(path, found))


def test_other_file_of_equal_size_and_time_is_refused(path: Path) -> None:
    found = survey(path, (), ())
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    with pytest.raises(DataError, match="changed while it was read"):
        next(read_blocks(path, found))


def test_file_with_another_mode_or_link_is_the_same(path: Path) -> None:
    found = survey(path, (), ())
    blocks = read_blocks(path, found, 1)
    next(blocks)
    path.with_name("link").hardlink_to(path)
    path.chmod(0o600)
    assert sum(block.num_rows for block in blocks) == found.rows - 1


def test_file_that_changes_between_blocks_is_refused(path: Path) -> None:
    blocks = read_blocks(path, survey(path, (), ()))
    next(blocks)
    touch(path)
    with pytest.raises(DataError, match="changed"):
        next(blocks)


def test_file_that_goes_away_is_an_error_of_the_system(path: Path) -> None:
    blocks = read_blocks(path, survey(path, (), ()))
    next(blocks)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        next(blocks)


def same_times(path: Path, content: bytes) -> None:
    modified = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(modified, modified))


@pytest.mark.parametrize(
    ("ending", "before", "after"),
    [
        (".csv", b"text,n\nxx,1\n", b"text,m\nxx,1\n"),
        (".csv", b"text,n\nxx,1\n", b"text,n\nxx,x\n"),
        (".csv", b"text,n\nab,1\n", b"text,n\n\n\n\n\n\n"),
        (".csv", b"text,n\na,12345\n", b"text,n\na,1\nb,2\n"),
        (".jsonl", b'{"n": 1}\n', b'{"m": 1}\n'),
        (".jsonl", b'{"n": 111}\n', b'{"n": "1"}\n'),
        (".jsonl", b'{"n": 1111111111111111111}\n', b'{"n": 9999999999999999999}\n'),
        (".jsonl", b'{"n": 1}\n', b'\n' * 9),
        (".jsonl", b'{"nn": 1234}\n', b'{}\n{}\n{}\n{}\n\n'),
    ],
)  # fmt: skip
def test_content_that_no_longer_fits_is_refused(
    tmp_path: Path, ending: str, before: bytes, after: bytes
) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(before)
    found = survey(path, (), ())
    assert len(list(read_blocks(path, found))) == 1
    assert len(before) == len(after)
    same_times(path, after)
    rows: list[int] = []
    with pytest.raises(DataError, match="changed"):
        rows.extend(block.num_rows for block in read_blocks(path, found))
    assert sum(rows) <= found.rows


def test_parquet_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "rows.parquet", tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    pq.write_table(pa.table({"b": [1]}), other)
    found = survey(path, (), ())
    assert path.stat().st_size == other.stat().st_size
    same_times(path, other.read_bytes())
    with pytest.raises(DataError, match="changed"):
        list(read_blocks(path, found))


def test_file_that_changes_during_the_survey_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ".jsonl", [{"text": 1}, {"text": "a"}])

    class Touching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            touch(path)

    # The survey logs a line when it has read the file.
    handler = Touching()
    logger = logging.getLogger("tasks.ingestion.jsonl_reader")
    logger.addHandler(handler)
    try:
        with pytest.raises(DataError, match="changed"):
            survey(path, (), ())
    finally:
        logger.removeHandler(handler)


# Memory

# Not ru_maxrss: it survives exec, so that of a large parent hides the child's.
CHILD = r"""
import re, sys
from pathlib import Path
from tasks.ingestion.table_reader import read_blocks, survey
for path in map(Path, sys.argv[1:]):
    found = survey(path, ("text",), (), texts=("text",))
    rows = sum(block.num_rows for block in read_blocks(path, found))
    assert rows == found.rows
    print(rows, re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peaks(paths: Sequence[Path], home: Path) -> list[tuple[int, int]]:
    """Return the rows of each file, and the memory, in KiB, of a process that has read it too."""
    environment = {"MILLSTREAM_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, paths)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows_and_memory = [line.split() for line in done.stdout.splitlines()]
    return [(int(rows), int(memory)) for rows, memory in rows_and_memory]


def some_rows(seed: int) -> Iterator[dict[str, Any]]:
    words = ["a great film", "an awful plot", 'of "quotes"', "x, y", "two\nlines"]
    while True:
        seed += 1
        yield {"id": seed, "text": " ".join(random.choices(words, k=20)), "score": seed / 8}


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".jsonl.gz", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, home: Path, ending: str) -> None:
    random.seed(0)
    part = list(islice(some_rows(0), 20_000))
    small, large = (write_large(tmp_path / f"{size}{ending}", part, size) for size in (5, 30))
    (fewer, before), (more, after) = peaks([small, large], home)
    assert 10_000 < fewer < more / 3
    assert after < 1.1 * before


def write_large(path: Path, part: list[dict[str, Any]], mebibytes: int) -> Path:
    """Write the same rows again and again, as one row group in Parquet."""
    table = pa.Table.from_pylist(part)
    if path.suffix == ".parquet":
        copies = mebibytes * 2**20 // table.nbytes + 1
        whole = pa.concat_tables([table] * copies)
        pq.write_table(whole, path, row_group_size=whole.num_rows, compression="none",
                       use_dictionary=False)  # fmt: skip
        return path
    quoted = [row["text"].replace('"', '""') for row in part]
    if ".csv" in path.name:
        header = "id,text,score\n"
        lines = [f'{row["id"]},"{text}",{row["score"]}\n'
                 for row, text in zip(part, quoted, strict=True)]  # fmt: skip
    else:
        header, lines = "", [json.dumps(row) + "\n" for row in part]
    body = "".join(lines)
    content = (header + body * (mebibytes * 2**20 // len(body) + 1)).encode()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


@pytest.mark.timeout(30)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "rows.csv"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=r"rows\.csv: no regular file; expected"):
        survey(pipe, {"text"}, ())


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_file_of_too_many_columns_is_refused_in_training_and_in_scoring(
    tmp_path: Path, ending: str
) -> None:
    path = written(tmp_path, ending, [{f"c{n}": "x" for n in range(MAX_COLUMNS + 1)}])
    for read in (lambda: survey(path, (), ()), lambda: list(read_columns(path, list))):
        with pytest.raises(DataError, match=rf"^{path}: .*{MAX_COLUMNS}") as error:
            read()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 300
    path = written(tmp_path, ending, [{f"c{n}": "x" for n in range(MAX_COLUMNS)}])
    assert survey(path, (), ()).rows == 1


@pytest.mark.parametrize(("levels", "refused"), [(99, False), (101, True), (200, True)])
def test_parquet_file_of_deep_columns_is_refused(
    tmp_path: Path, levels: int, refused: bool
) -> None:
    path, kind = tmp_path / "rows.parquet", pa.int64()
    for _ in range(levels):
        kind = pa.struct([("a", kind)])
    table = pa.table({"text": ["x"], "deep": pa.array([None], kind)})
    pq.write_table(table, path, store_schema=False)
    if refused:
        with pytest.raises(DataError, match=f"^{path}: columns nested more than 100 levels"):
            survey(path, (), ())
    else:
        assert sum(block.num_rows for block in read_blocks(path, survey(path, (), ()))) == 1


def test_parquet_file_of_too_many_nested_columns_is_refused(tmp_path: Path) -> None:
    path, names = tmp_path / "rows.parquet", [f"c{n}" for n in range(40_000)]
    pq.write_table(pa.table({"s": pa.array([], pa.struct([(n, pa.int8()) for n in names]))}), path)
    with pytest.raises(DataError, match=f"^{path}: expected a Parquet table .*size limit"):
        survey(path, (), ())
