"""What is said where nothing is up."""

from pathlib import Path

from tests.support.commands import run_command


def test_where_nothing_is_up_a_line_says_what_starts_it(tmp_path: Path) -> None:
    ended = run_command("deployments.status", home=tmp_path)
    expected = f"nothing is up in {tmp_path}; `make up` starts it\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, expected, "")
