"""Where a loaded or served model keeps its cache."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path


def prediction_cache_folder(model_config: Mapping[str, Any] | None) -> Path:
    """Return the cache's folder: from `model_config`, `MILLSTREAM_HOME`, or the user's cache.

    Args:
        model_config: What `mlflow.pyfunc.load_model(model_config=…)` was given; the key
            `cache_dir` is read.
    """
    if model_config and model_config.get("cache_dir"):
        return Path(model_config["cache_dir"]).expanduser()
    if home := os.environ.get("MILLSTREAM_HOME"):
        return Path(home).expanduser() / "prediction-cache"
    return user_cache_path("millstream") / "prediction-cache"
