"""The project file: its values, what wins over them, and its errors."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY, get_settings
from tasks.project.project import Project, get_project, server_variables
from tasks.project.tables import Schedules, Serve

Write = Callable[[str], Project]


@pytest.fixture
def write(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes the project file and reads it."""
    path = tmp_path / "millstream.toml"
    monkeypatch.setenv("MILLSTREAM_PROJECT", str(path))
    get_settings.cache_clear()

    def write(text: str) -> Project:
        path.write_text(text, encoding="utf-8")
        get_project.cache_clear()
        return get_project()

    yield write
    get_project.cache_clear()


def test_without_a_file_everything_is_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("/dev/null", str(tmp_path / "none.toml")):
        monkeypatch.setenv("MILLSTREAM_PROJECT", place)
        get_settings.cache_clear()
        get_project.cache_clear()
        project = get_project()
        assert not project.is_given
        assert project.defaults == {}
        assert project.inputs == (str(home / "inbox"),)
        assert project.output_folder == home / "scored" / "inbox"
        assert project.model_name("dl_finetuned_model") == "dl_finetuned_model"
    get_project.cache_clear()


def test_values_are_defaults_of_parameters_and_paths_lie_beside_the_file(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "tickets.csv").touch()
    project = write(
        """
        name = "tickets"
        source = "tickets.csv"
        text_column = "body"
        label_names = ["billing", "login"]
        separator = "\\t"
        encoding = "cp1252"
        header = false
        languages = ["de"]
        base_model = "distilbert/distilroberta-base"
        inbox = "new"
        output = "/srv/scored"
        sources = ["more/*.csv", "https://example.org/a.csv", "s3://rows/in/*.csv"]
        schedules.nightly = "30 2 * * *"
        """
    )
    assert project.defaults == {
        "source": str(tmp_path / "tickets.csv"),
        "text_column": "body",
        "label_names": ("billing", "login"),
        "separator": "\t",
        "encoding": "cp1252",
        "header": False,
        "languages": ("de",),
        "base_model": "distilbert/distilroberta-base",
    }
    assert project.inputs == (
        str(tmp_path / "new"),
        str(tmp_path / "more/*.csv"),
        "https://example.org/a.csv",
        "s3://rows/in/*.csv",
    )
    assert project.output_folder == Path("/srv/scored")
    assert project.schedules.nightly == "30 2 * * *"
    assert project.schedules.weekly_training == "0 3 * * 0"
    assert project.model_name("dl_finetuned_model") == "tickets_dl_finetuned_model"


def test_the_example_has_every_key(write: Write) -> None:
    example = (REPOSITORY / "millstream.example.toml").read_text(encoding="utf-8")
    project = write(example)
    assert project.model_fields_set == set(Project.model_fields)
    assert project.schedules.model_fields_set == set(Schedules.model_fields)
    assert project.serve.model_fields_set == set(Serve.model_fields)


def test_the_environment_wins_key_by_key(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_TEXT_COLUMN", "message")
    monkeypatch.setenv("MILLSTREAM_LANGUAGES", '["en", "de"]')
    monkeypatch.setenv("MILLSTREAM_SCHEDULES__NIGHTLY", "0 4 * * *")
    project = write(
        """
        text_column = "body"
        label_column = "queue"
        [schedules]
        nightly = "0 2 * * *"
        timezone = "Europe/Berlin"
        """
    )
    assert (project.text_column, project.label_column) == ("message", "queue")
    assert project.languages == ("en", "de")
    assert (project.schedules.nightly, project.schedules.timezone) == (
        "0 4 * * *",
        "Europe/Berlin",
    )


def test_servers_are_those_of_the_settings(write: Write) -> None:
    write("[serve]\nprefect_port = 4300\nhost = '127.0.0.2'\n")
    assert server_variables() == {"PREFECT_PORT": "4300", "MILLSTREAM_HOST": "127.0.0.2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\na = \n", ": no TOML: Invalid value (at line 2, column 5)"),
        ("\nsorce = 'x'", ", line 2: sorce: unknown key; expected one of ['name', 'source', "),
        ("name = 'two words'", ", line 1: name: String should match pattern"),
        ("name = 3", ", line 1: name: Input should be a valid string, got 3"),
        ("languages = 'de'", ', line 1: languages: \'de\'; expected a list, such as ["a", "b"]'),
        (
            "[schedules]\nweakly = '* * * * *'",
            ", line 2: schedules.weakly: unknown key; expected one of ['nightly', ",
        ),
        (
            "[schedules]\ntimezone = 'Berlin'",
            ", line 2: schedules.timezone: 'Berlin'; expected an IANA time zone, such as ",
        ),
        ("[serve]\nmlflow_port = 0", ", line 2: serve.mlflow_port: Input should be greater than"),
        ("inbox = 's3://bucket'", ", line 1: inbox: the path: 's3://bucket' is no path on this"),
        (
            "sources = ['http://me:secret@example.org/a.csv']",
            ", line 1: sources: http://example.org/a.csv: given with a user name or password",
        ),
    ],
)
def test_an_error_names_file_line_key_and_what_was_expected(
    write: Write, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ParameterError) as error:
        write(text)
    assert str(error.value).startswith(f"{tmp_path}/millstream.toml{message}")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_wrong_variable_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_SCHEDULES__TIMEZONE", "nowhere")
    with pytest.raises(ParameterError, match=r"^MILLSTREAM_SCHEDULES__TIMEZONE: 'nowhere'; "):
        write("")
    monkeypatch.delenv("MILLSTREAM_SCHEDULES__TIMEZONE")
    monkeypatch.setenv("MILLSTREAM_LANGUAGES", "de")
    with pytest.raises(ParameterError, match=r'"languages".*; expected JSON in a variable'):
        write("")


def test_a_file_that_cannot_be_read_is_named(write: Write, tmp_path: Path) -> None:
    (tmp_path / "millstream.toml").mkdir()
    get_project.cache_clear()
    with pytest.raises(ParameterError, match=r"millstream.toml: cannot be read \(.*; expected"):
        get_project()
