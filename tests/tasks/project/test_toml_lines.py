"""The line of a key in a TOML file."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.project.toml_lines import line_of_key

FILE = """\
# a project
name = "a"   # name = "b"
labels = [
    "one",
    "two",
]
text = '''
name = "c"
'''

[schedules]
name = "d"
[serve]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["name"], 2),
        (["labels"], 6),
        (["labels", 1], 6),
        (["text"], 9),
        (["schedules"], 11),
        (["schedules", "name"], 12),
        (["serve"], 13),
        (["serve", "name"], None),
        (["labels", 2], None),
        (["other"], None),
    ],
)
def test_line_on_which_a_value_is_complete(path: list[str | int], line: int | None) -> None:
    assert line_of_key(FILE, path) == line


@given(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1), st.data())
def test_each_key_of_a_flat_file_is_on_its_own_line(keys: list[str], data: st.DataObject) -> None:
    blank = [data.draw(st.integers(0, 2)) for _ in keys]
    text = "".join("\n" * n + f"{key} = 1\n" for n, key in zip(blank, keys, strict=True))
    assert tomllib.loads(text).keys() == set(keys)
    for key in keys:
        line = line_of_key(text, [key])
        assert line is not None
        assert text.split("\n")[line - 1] == f"{key} = 1"
