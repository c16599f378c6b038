"""Settings of the prediction cache: its folder and its size limit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from ..errors import SettingError

DEFAULT_SIZE_LIMIT = 2 * 2**30  # bytes

_LEAST_SIZE_LIMIT = 2**20  # bytes
_MOST_DIGITS = 18  # SQLite stores no more


def prediction_cache_folder(model_config: Mapping[str, Any] | None) -> Path:
    """Return the cache's folder: from `model_config`, `MILLSTREAM_HOME`, or the user's cache.

    Args:
        model_config: The argument of `mlflow.pyfunc.load_model`; its key `cache_dir` is read.
    """
    if model_config and model_config.get("cache_dir"):
        return Path(model_config["cache_dir"]).expanduser()
    if home := os.environ.get("MILLSTREAM_HOME"):
        return Path(home).expanduser() / "prediction-cache"
    return user_cache_path("millstream") / "prediction-cache"


def prediction_cache_size_limit(model_config: Mapping[str, Any] | None) -> int:
    """Return the bytes on disk above which the cache drops its oldest entries.

    Args:
        model_config: As above; its key `cache_size_limit` is read, then the variable
            `MILLSTREAM_CACHE_SIZE_LIMIT`. None and the empty string count as not set.

    Raises:
        SettingError: If the value is no whole number of at least 1 MiB.
    """
    variable = "MILLSTREAM_CACHE_SIZE_LIMIT"
    given = (model_config or {}).get("cache_size_limit")
    for name, value in (("cache_size_limit", given), (variable, os.environ.get(variable))):
        if value is not None and value != "":
            return _size_limit(name, value)
    return DEFAULT_SIZE_LIMIT


def _size_limit(name: str, value: object) -> int:
    digits = str(value).strip()
    fits = digits.isdecimal() and len(digits) <= _MOST_DIGITS
    if not fits or int(digits) < _LEAST_SIZE_LIMIT:
        raise SettingError(
            f"{name}: expected a whole number of bytes, at least {_LEAST_SIZE_LIMIT} (1 MiB), "
            f"got {value!r}"
        )
    return int(digits)
