"""The command that looks at labelled data and writes the project file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.start_project import start_project
from tasks.common.errors import ParameterError
from tasks.common.settings import get_settings
from tasks.project.project_file import write_project_file
from tests.support.commands import run_in_project
from tests.support.queues import write_two_queues


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Call the command in this process, with a project file in `tmp_path`; return what it says."""
    monkeypatch.setenv("MILLSTREAM_PROJECT", str(tmp_path / "millstream.toml"))
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()

    def start(source: Path, **parameters: Any) -> str:
        start_project(str(source), **parameters)
        return capsys.readouterr().out

    yield start
    get_settings.cache_clear()


def test_a_wrong_encoding_is_shown(tmp_path: Path, start: Callable[..., str]) -> None:
    rows = [f"schöne Grüße aus Köln {n};{'ab'[n % 2]}" for n in range(40)]
    path = tmp_path / "tickets.csv"
    path.write_text("\n".join(["text;label", *rows]), encoding="cp1252")
    wrong = start(path, encoding="cp850")
    assert "sign in place of a letter" in wrong
    assert "try --encoding cp1252" in wrong
    right = start(path, encoding="cp1252", overwrite=True)
    assert "ö 80, ü 40, ß 40; in schöne, Grüße, Köln" in right
    assert "in place of a letter" not in right


@pytest.mark.parametrize(
    ("zone", "written"), [("Europe/Berlin", "Europe/Berlin"), ("Mars/North", "Etc/UTC")]
)
def test_the_file_has_the_zone_of_the_machine_and_each_key_once(
    tmp_path: Path,
    start: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    written: str,
) -> None:
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setattr("tzlocal.unix._cache_tz_name", None)
    (tmp_path / "stored").mkdir()
    write_two_queues(tmp_path / "stored" / "3f2a.csv")
    # What lies beside the file is named by its own name, wherever a link leads.
    source = tmp_path / "tickets.csv"
    source.symlink_to(tmp_path / "stored" / "3f2a.csv")
    start(source, encoding="cp1252")
    text = (tmp_path / "millstream.toml").read_text()
    assert f'\ntimezone = "{written}"\n' in text
    assert 'source = "tickets.csv"\n' in text
    assert text.count("encoding = ") == text.count("separator = ") == 1


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("flows.score_shards", ()),
        ("flows.start_project", ("--source", "x.csv")),
        ("deployments.up", ()),
        ("deployments.check_config", ()),
    ],
)
def test_a_wrong_project_file_is_one_line_of_every_command(
    tmp_path: Path, module: str, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "millstream.toml").write_text('name = "tickets"\nlanguages = ["xx"]\n')
    done = run_in_project(tmp_path, module, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: {tmp_path}/millstream.toml, line 2: languages: ['xx']; expected codes"
    )
    assert done.stderr.count("\n") == 1


def test_a_cron_line_is_checked_before_it_is_deployed(tmp_path: Path) -> None:
    (tmp_path / "millstream.toml").write_text('[schedules]\nnightly = "61 1 * * *"\n')
    done = run_in_project(tmp_path, "deployments.check_config")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/millstream.toml, line 2: schedules.nightly: Invalid cron string: "
        '"61 1 * * *"\n'
    )


def test_what_toml_cannot_hold_writes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "millstream.toml"
    with pytest.raises(ParameterError, match="characters that TOML cannot hold"):
        write_project_file(path, {"source": "a\x7fb.csv"})
    assert not path.exists()
    write_project_file(path, {"source": 'a"b\\c\n\u2028.csv', "languages": ["de"]})
    assert path.exists()
