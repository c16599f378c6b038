"""Write a project file: the values that were found, with a comment for those that were not."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tzlocal import get_localzone_name

from tasks.common.errors import ParameterError
from tasks.common.files import published_file

_HEAD = """\
# The project file of Millstream. docs/data_and_model.md describes the keys, and
# `make check-config` checks them. A path without a leading
# slash is relative to the folder of this file.

"""

# Keys without a found value: what each is by default, and what it means.
_FURTHER = {
    "label_names": "[]            # the labels in the order of their ids",
    "separator": '";"             # of the cells of CSV and TSV, if it is not found by itself',
    "encoding": '"cp1252"         # of files without a byte order mark, if it is not UTF-8',
    "header": "true               # whether CSV and TSV begin with the names of their columns",
    "language_policy": '"score"   # or "flag", or "reject": rows in other languages',
    "base_model": '"minilm"       # a Hugging Face id, or a folder',
    "inbox": '"var/inbox"         # new files in it are scored each night',
    "output": '"var/scored/inbox"',
    "sources": "[]                # files, folders, patterns or URLs to score besides the inbox",
}

_TAIL = """
[schedules]
nightly = "0 1 * * *"
weekly_training = "0 3 * * 0"
timezone = "{timezone}"

[serve]
# prefect_port = 4200
# mlflow_port = 5000
# serve_port = 8000
"""


def write_project_file(path: Path, values: Mapping[str, str | bool | Sequence[str]]) -> None:
    """Write a project file, whole or not at all.

    Args:
        path: The file; an earlier one is replaced.
        values: Values of keys outside of tables.

    Raises:
        ParameterError: If TOML cannot hold a value.
        OSError: If the file cannot be written.
    """
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    further = [f"# {key} = {line}" for key, line in _FURTHER.items() if key not in values]
    comment = ["", "# Further keys, with their defaults:", *further]
    text = _HEAD + "\n".join([*lines, *comment]) + "\n" + _TAIL.format(timezone=local_timezone())
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(
            f"{path}: a name or a path has characters that TOML cannot hold ({error})"
        ) from error
    if any(content[key] != value for key, value in values.items()):
        raise ParameterError(f"{path}: a value would be read as another; expected plain text")
    with published_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def local_timezone() -> str:
    """Return the IANA name of the machine's time zone, or `Etc/UTC` if none is known."""
    try:
        name = get_localzone_name()
        return ZoneInfo(name).key if name else "Etc/UTC"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "Etc/UTC"
