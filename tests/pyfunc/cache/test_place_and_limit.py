"""Where the answers are stored, and how much room they may take."""

from pathlib import Path

import pytest

from pyfunc.cache.settings import prediction_cache_folder, prediction_cache_size_limit
from pyfunc.errors import SettingError
from pyfunc.opening import open_pipeline
from tests.pyfunc.cache.contents import database
from tests.support.builders import build_artifact

VARIABLE = "MILLSTREAM_CACHE_SIZE_LIMIT"


def test_the_folder_is_that_of_the_configuration_else_of_the_home_else_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))
    given = {"cache_dir": str(tmp_path / "given")}
    assert prediction_cache_folder(given) == tmp_path / "given"
    for nothing in (None, {}, {"cache_dir": ""}, {"cache_dir": None}):
        assert prediction_cache_folder(nothing) == tmp_path / "home" / "prediction-cache"
    monkeypatch.delenv("MILLSTREAM_HOME")
    assert prediction_cache_folder(None) == tmp_path / "user" / "millstream" / "prediction-cache"


def test_the_size_limit_is_that_of_the_configuration_else_of_the_variable_else_2_gib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "3000000")
    assert prediction_cache_size_limit({"cache_size_limit": 2**20}) == 2**20
    assert prediction_cache_size_limit({"cache_size_limit": "1048577"}) == 2**20 + 1
    for nothing in (None, {}, {"cache_size_limit": ""}, {"cache_size_limit": None}):
        assert prediction_cache_size_limit(nothing) == 3_000_000
    monkeypatch.setenv(VARIABLE, "")
    assert prediction_cache_size_limit(None) == 2 * 2**30
    monkeypatch.delenv(VARIABLE)
    assert prediction_cache_size_limit(None) == 2 * 2**30


@pytest.mark.parametrize(
    "value",
    [0, 2**20 - 1, -(2**21), 2e6, True, [], "much", "2 GiB", "2e6", "-2000000", " ", "²", 10**30],
)
def test_a_size_limit_that_is_no_whole_number_of_a_mebibyte_or_more_is_named(
    monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setenv(VARIABLE, "3000000")
    with pytest.raises(SettingError, match=r"^cache_size_limit: expected a whole number of bytes"):
        prediction_cache_size_limit({"cache_size_limit": value})


@pytest.mark.parametrize("value", ["0", "1048575", "2.5", "much", "9" * 5_000])
def test_a_size_limit_that_is_bad_in_the_variable_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(SettingError, match=f"^{VARIABLE}: expected .*at least 1048576"):
        prediction_cache_size_limit({"cache_size_limit": ""})


def test_a_pipeline_keeps_to_the_size_limit_that_it_is_opened_with(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    artifact = build_artifact(tmp_path / "artifact", tiny_classifier)
    config = {"cache_dir": str(tmp_path / "cache"), "cache_size_limit": 2**21}
    open_pipeline(artifact, model_uri="models:/m", model_config=config)
    with database(tmp_path / "cache") as connection:
        query = "SELECT value FROM Settings WHERE key = 'size_limit'"
        assert connection.execute(query).fetchall() == [(2**21,)]
    with pytest.raises(SettingError, match="cache_size_limit"):
        open_pipeline(
            artifact, model_uri="models:/m", model_config=config | {"cache_size_limit": 7}
        )
