"""The challenger that answered in the shadow of online requests is compared with the champion."""

from pathlib import Path
from typing import Any

from flows.compare_shadow import compare_shadow
from tests.support.served import classify, served, wait_for_files

TEXTS = [f"one two three four five six seven eight nine ten {number}" for number in range(60)]


def test_what_the_challenger_answered_online_is_compared(
    own_versions: None, tmp_path: Path
) -> None:
    folder = tmp_path / "online"
    options: dict[str, Any] = {"record": str(folder), "record_seconds": 0.2, "shadow": "challenger"}
    with served(**options, shadow_fraction=1.0) as client:
        classify(client, *TEXTS)
        wait_for_files(folder / "shadow" / "version-2", 1)
    report = compare_shadow(output_dir=str(folder))
    assert report["rows"] == 60
