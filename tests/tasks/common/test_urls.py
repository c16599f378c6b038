"""What is shown of URLs, and what they may hold."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import Flow

from flows.clean_up import clean_up
from flows.command_line import parse
from flows.end_to_end import end_to_end
from flows.explain_prediction import explain_prediction
from flows.score_shards import score_shards
from flows.train_classifier import train_classifier
from tasks.common.errors import ParameterError
from tasks.common.settings import Settings
from tasks.common.urls import has_password, local_path, redact_url, url_file_name, url_path
from tasks.dataset.prefect_tasks import read_split
from tasks.dataset.sources import fetch_tables
from tasks.dataset.types import resolve_data_files
from tasks.inputs.input_files import check_inputs, list_input_files
from tasks.maintenance.types import resolve_output_dirs
from tasks.output.folder import resolve_output_folder
from tasks.reports.prefect_tasks import explain_row
from tasks.training.base_models import base_model_folder
from tasks.training.types import FineTuneParameters

# What takes a path, by the parameter that its errors name
TAKERS: list[tuple[str, Callable[[str], object]]] = [
    ("inputs", lambda text: check_inputs(["a.csv", text])),
    ("output_dir", resolve_output_folder),
    ("output_dir", lambda text: explain_row.fn(text, "a-00001", 1, verify=False)),
    ("output_dirs", lambda text: resolve_output_dirs(["a", text])),
    ("source", fetch_tables),
    ("data_files", lambda text: resolve_data_files(["a.csv", text])),
    ("split_folder", read_split.fn),
    ("base_model", lambda text: FineTuneParameters(base_model=text)),
    ("MILLSTREAM_HOME", lambda text: Settings(MILLSTREAM_HOME=text)),
]


# Those that take no address on S3
LOCAL_TAKERS = [taker for taker in TAKERS if taker[0] not in ("inputs", "source")]


@pytest.mark.parametrize(("parameter", "taker"), LOCAL_TAKERS)
@pytest.mark.parametrize("text", ["s3://bucket/out", "S3://bucket", "s3://"])
def test_address_on_s3_is_refused_where_no_input_is_meant(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parameter: str,
    taker: Callable[[str], object],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError) as raised:
        taker(text)
    assert str(raised.value).startswith(f"{parameter}: '{text}' is no path on this machine; expect")
    assert list(tmp_path.iterdir()) == []


def test_output_on_s3_is_refused_before_a_run_starts() -> None:
    with pytest.raises(ParameterError) as raised:
        score_shards.validate_parameters({"inputs": ["a.csv"], "output_dir": "s3://bucket/out"})
    assert str(raised.value) == (
        "output_dir: 's3://bucket/out' is no path on this machine; expected a folder on this "
        "machine, since inputs alone may be on S3"
    )


@pytest.mark.parametrize(
    ("flow", "name"),
    [(score_shards, "inputs"), (end_to_end, "inputs"), (train_classifier, "source")],
)
def test_address_on_s3_is_taken_where_an_input_is_meant(flow: Flow[..., Any], name: str) -> None:
    def given(text: str) -> dict[str, Any]:
        required = {"inputs": ["a.csv"], "output_dir": "o"}
        known = {key: value for key, value in required.items() if key in flow.parameters.required}
        return known | {name: [text] if name == "inputs" else text}

    assert flow.validate_parameters(given("s3://bucket/a@b?password.csv"))
    for text in ("s3://", "s3:///a.csv", "s3://a b/c.csv"):
        with pytest.raises(ParameterError, match=f"^{name}: s3://.*: names no bucket; expected s3"):
            flow.validate_parameters(given(text))


@pytest.mark.parametrize(("parameter", "taker"), TAKERS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gs://bucket/a.csv", "'gs://bucket/a.csv' is no path on"),
        ("hdfs://name/a.csv", "'hdfs://name/a.csv' is no path on"),
        ("file:///a.csv", "'file:///a.csv' is no path on"),
        ("S3:/b/out", "'S3://b/out' is no path on"),
        ("~no-such-user/a", "'~no-such-user/a' needs the home of ~no-such-user"),
        ("a/" * 2_500, f"'…{'a/' * 40}' is a path of 5000 bytes with a name of 1"),
        ("b/" + "é" * 150, f"'…{'é' * 80}' is a path of 302 bytes with a name of 300"),
        ("a\0b.csv", r"'a\x00b.csv' has a NUL character"),
        ("caf\udce9.csv", r"'caf\xe9.csv': the file's name is not UTF-8; expected a name in UTF-8"),
        ("a\ud800\n.csv", r"'a\ud800\n.csv': the file's name is not UTF-8; expected a name in"),
        (
            "http://example.org/a\udce9",
            r"'http://example.org/a\xe9': the file's name is not",
        ),
    ],
)
def test_what_is_no_path_of_this_machine_is_refused_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parameter: str,
    taker: Callable[[str], object],
    text: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError) as raised:
        taker(text)
    assert str(raised.value).startswith(f"{parameter}: {message}")
    assert "; expected " in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# Those that look for the path
READERS = [
    *(taker for taker in TAKERS if taker[0] not in ("inputs", "base_model")),
    ("inputs", lambda text: list_input_files([text], Path("/output"))),
    ("base_model", base_model_folder),
]


@pytest.mark.parametrize(("parameter", "reader"), READERS)
@pytest.mark.parametrize("name", ["loop", "loop/a.csv"])
def test_links_that_lead_in_a_circle_are_refused_by_name(
    tmp_path: Path, parameter: str, reader: Callable[[str], object], name: str
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    with pytest.raises(ParameterError) as raised:
        reader(f"{tmp_path}/{name}")
    assert str(raised.value).startswith(f"{parameter}: '")
    assert "cannot be read (Too many levels of symbolic links); expected " in str(raised.value)


@pytest.mark.parametrize(("parameter", "reader"), READERS)
def test_folder_whose_links_lead_to_a_name_that_is_not_utf8_is_refused_by_name(
    tmp_path: Path, parameter: str, reader: Callable[[str], object]
) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ParameterError) as raised:
        reader(f"{tmp_path}/link/a.csv")
    assert str(raised.value).startswith(f"{parameter}: '")
    assert r"caf\xe9/a.csv': the file's name is not UTF-8; expected a name in" in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any folder")
@pytest.mark.parametrize(("parameter", "reader"), READERS)
@pytest.mark.parametrize("name", ["", "/a.csv"])
def test_folder_that_may_not_be_read_is_refused_by_name(
    tmp_path: Path, parameter: str, reader: Callable[[str], object], name: str
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "a.csv").write_text("text\na\n")
    if not name and parameter not in ("inputs", "base_model", "split_folder"):
        return  # the folder as such is no input of these, or is looked into later
    folder.chmod(0)
    try:
        with pytest.raises(ParameterError) as raised:
            reader(f"{folder}{name}")
    finally:
        folder.chmod(0o700)
    assert str(raised.value).startswith(f"{parameter}: '")
    assert "closed" + name + "' cannot be read (Permission denied); expected " in str(raised.value)


PATH_PARAMETERS = [
    (train_classifier, ["--source"]),
    (train_classifier, ["--base-model"]),
    (train_classifier, ["--steps", "split_data", "--data-files"]),
    (train_classifier, ["--steps", "fine_tuning_model", "--split-folder"]),
    (score_shards, ["--output-dir", "o", "--inputs"]),
    (score_shards, ["--inputs", "a.csv", "--output-dir"]),
    (end_to_end, ["--source"]),
    (end_to_end, ["--base-model"]),
    (end_to_end, ["--inputs"]),
    (end_to_end, ["--output-dir"]),
    (end_to_end, ["--data-files"]),
    (clean_up, ["--output-dirs"]),
    (explain_prediction, ["--shard", "a", "--row", "1", "--output-dir"]),
    (explain_prediction, ["--output-dir", "o", "--row", "1", "--shard"]),
]


@pytest.mark.parametrize(("flow", "arguments"), PATH_PARAMETERS)
@pytest.mark.parametrize("text", ["a" * 5_000, "a\0b", "caf\udce9.csv", "http://example.org/\0"])
def test_what_can_be_no_path_is_refused_before_a_run_starts(
    flow: Flow[..., Any], arguments: list[str], text: str
) -> None:
    name = arguments[-1].removeprefix("--").replace("-", "_")
    with pytest.raises(ParameterError, match=f"^{name}: '.*; expected ") as raised:
        parse(flow, [*arguments, text])
    assert len(str(raised.value)) < 400
    given = {"inputs": ["a.csv"], "output_dir": "o", "shard": "a", "row": 1}
    required = {key: given[key] for key in given.keys() & set(flow.parameters.required)}
    several = flow.parameters.properties[name].get("type") == "array"
    with pytest.raises(ParameterError, match=f"^{name}: "):  # as a deployment's run has them
        flow.validate_parameters(required | {name: [text] if several else text})


def test_a_long_name_in_an_address_is_cut_at_its_start() -> None:
    assert url_file_name("https://example.org/" + "é" * 500 + ".csv.gz") == "é" * 96 + ".csv.gz"
    assert url_file_name("https://example.org/a/b.csv?x=" + "y" * 500) == "b.csv"


@pytest.mark.parametrize("name", ["./s3:/b", "a:b.csv", "c:/a.csv", "./~no-such-user", "a/b://c"])
def test_path_with_a_colon_or_a_tilde_in_it_is_a_path(name: str) -> None:
    assert local_path("inputs", name, "a path") == Path(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a.csv?token=hunter2#hunter2", "https://example.org/a.csv"),
        ("https://example.org:8080/a.csv;token=hunter2", "https://example.org:8080/a.csv"),
        ("https://[::1]:8080/a.csv", "https://[::1]:8080/a.csv"),
        ("https://me:hunter2@example.org/a.csv", "https://example.org/a.csv"),
        (" https://me:hunter2@example.org/a.csv?hunter2", "https://example.org/a.csv"),
        ("https://me@hunter2@example.org/a.csv", "https://example.org/a.csv"),
        ("https:/me:hunter2@example.org/a.csv", "https://example.org/a.csv"),
        ("//me:hunter2@example.org/a.csv", "//example.org/a.csv"),
        ("s3://key:hunter2@bucket/a.csv", "s3://bucket/a.csv"),
        ("ftp://me:hunter2@example.org/a.csv?hunter2", "ftp://example.org/a.csv"),
        # The key of an object may have any character.
        ("s3://bucket/a b/me@home:c?d#e;f.csv", "s3://bucket/a b/me@home:c?d#e;f.csv"),
        ("s3://bucket", "s3://bucket"),
        # A password with characters that end the part in which it belongs.
        ("https://me:1234/hunter2@example.org/a.csv", "https://…/…"),
        ("https://me:1234\\hunter2@example.org/a.csv", "https://…/…"),
        ("https://me:12#hunter2@example.org/a.csv", "https://…/…"),
        ("https://me:12?hunter2@example.org/a.csv", "https://…/…"),
        ("https://me:12@34/hunter2@example.org/a.csv", "https://…/…"),
        ("https://me:hunter\uff1a2@example.org/a.csv", "https://example.org/a.csv"),
        ("https://example.org/a.csv?to=a@b&token=hunter2", "https://example.org/…"),
        ("https://me:hunter2", "https://…"),
        ("https://me:hunter2@[::1/", "https://…"),
        ("me:hunter2@example.org/a.csv", "…@example.org/a.csv"),
        # No URLs.
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("/data/part?.csv", "/data/part?.csv"),
        ("/data/a@b:c.csv", "/data/a@b:c.csv"),
        ("data/*.csv", "data/*.csv"),
        ("organisation/name", "organisation/name"),
        ("", ""),
    ],
)
def test_no_secret_of_an_address_is_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@given(
    st.text(max_size=8).map(lambda text: f"{text}hunter2"), st.sampled_from(["http", "HTTPS", "s3"])
)
def test_no_password_is_shown_whatever_its_characters(password: str, scheme: str) -> None:
    assert "hunter2" not in redact_url(f"{scheme}://me:{password}@example.org/a.csv?token=hunter2")


def test_path_of_an_address_is_found() -> None:
    assert url_path("https://me:hunter\uff1a2@example.org/some/a.csv?b.csv#c.csv") == "/some/a.csv"
    assert url_path("https://example.org") == ""
    assert url_path("s3://bucket/some/a?b#c;d.csv") == "/some/a?b#c;d.csv"
    assert url_path("s3://bucket") == "/"


WITH_LOGIN = (
    "http://me:hunter2\\@example.org/",
    "http://me:hunter2\\x@example.org/",
    "http://\\me:hunter2@example.org/",
    "https://me:hunter2/x@example.org/a.csv",
    "https://example.org/a.csv?user=me&password=hunter2",
    "https://example.org/a.csv?user=me&PASSWD=hunter2",
    "https://example.org/a.csv?user=me;pass%77ord=hunter2#b",
    "s3://key:hunter2@bucket/a.csv",
)


@pytest.mark.parametrize(
    ("flow", "parameters"),
    [
        (train_classifier, {"source": "{}"}),
        (train_classifier, {"base_model": "{}"}),
        (end_to_end, {"source": "{}"}),
        (end_to_end, {"inputs": ["{}"]}),
        (score_shards, {"inputs": ["a.csv", "{}"], "output_dir": "out"}),
    ],
)
def test_a_password_in_an_address_is_refused_before_anything_is_stored(
    flow: Any, parameters: dict[str, Any]
) -> None:
    def given_as(url: str) -> dict[str, Any]:
        return {
            name: [item.format(url) for item in value]
            if isinstance(value, list)
            else value.format(url)
            for name, value in parameters.items()
        }

    for url in WITH_LOGIN:
        with pytest.raises(ParameterError, match="given with a user name or password") as refused:
            flow.validate_parameters(given_as(url))
        assert "hunter2" not in str(refused.value)
    with pytest.raises(ParameterError) as raised:
        flow.validate_parameters(given_as("https://me:hunter2@example.org/a.csv?token=hunter2"))
    assert str(raised.value) == (
        "https://example.org/a.csv: given with a user name or password; "
        "expected those in ~/.netrc, since the parameters of a run are stored"
    )
    with pytest.raises(ParameterError, match="expected those in the settings of boto3, since"):
        flow.validate_parameters(given_as("s3://key:hunter2@bucket/a.csv"))
    assert flow.validate_parameters(given_as("https://example.org/@me/a.csv?to=a@b"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://me:hunter2@db/mlflow", True),
        ("postgresql://db/mlflow?user=me&password=hunter2", True),
        ("postgresql://db/mlflow?user=me&sslpassword=hunter2", True),
        ("mysql+pymysql://db/mlflow?passwd=hunter2", True),
        ("http://me@models.example.org", True),
        ("http://me:hunter2\\@models.example.org/", True),
        ("postgresql://me@db/mlflow?sslmode=require", False),
        ("sqlite:////home/me@work/mlflow.db", False),
        ("http://models.example.org:5000", False),
    ],
)
def test_a_password_is_found_wherever_it_stands(uri: str, expected: bool) -> None:
    assert has_password(uri) is expected
