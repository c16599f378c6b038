"""Base models of the Hugging Face Hub: which files are fetched, and how many bytes at most."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.common.errors import DownloadError
from tasks.common.settings import REPOSITORY
from tests.support.hub_server import HubServer, serving_hub

USED = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "model.safetensors.index.json": b"{}",
    "tokenizer.json": b"{}",
    "vocab.txt": b"a",
}
UNUSED = {
    "README.md": b"read me",
    "consolidated.safetensors": b"the weights once more",
    "flax_model.msgpack": b"the weights once more",
    "model.fp16.safetensors": b"the weights once more",
    "onnx/config.json": b"{}",
    "onnx/model.safetensors": b"the weights once more",
    "pytorch_model.bin": b"a pickle",
}


def fetch(server: HubServer, cache: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Download the model in a process of its own, whose Hub is the server."""
    code = "from tasks.download.hub_download import download_from_hub as f; print(f('someone/it'))"
    hub = {"HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | hub | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_just_the_files_that_are_used_are_fetched_and_serve_without_the_hub(tmp_path: Path) -> None:
    with serving_hub(USED | UNUSED) as server:
        done = fetch(server, tmp_path)
        folder = Path(done.stdout.strip())
        assert {path.name for path in folder.iterdir()} == set(USED), done.stderr
        assert sorted(server.fetched) == sorted(USED)
    again = fetch(server, tmp_path)
    assert Path(again.stdout.strip()) == folder
    assert "the files of an earlier download are used" in again.stderr


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        (
            {},
            "10",
            "the largest model.safetensors, have 14 bytes, expected at most 10; MILLSTREAM_DOWN",
        ),
        ({"model.safetensors": 2**34}, "", f"have {2**34 + 7} bytes, expected at most {2**34}; "),
        ({"model.safetensors": 2**50}, str(2**60), "expected a disk with room for them"),
    ],
)
def test_a_model_that_is_too_large_is_refused_before_a_byte_is_fetched(
    tmp_path: Path, sizes: dict[str, int], limit: str, expected: str
) -> None:
    with serving_hub(USED, sizes) as server:
        done = fetch(server, tmp_path, MILLSTREAM_DOWNLOAD_LIMIT=limit)
    error = done.stderr.splitlines()[-1]
    assert error.startswith(
        f"{DownloadError.__module__}.DownloadError: base_model: 'someone/it': its 5 files on the "
        "Hugging Face Hub, "
    )
    assert expected in error
    assert server.fetched == []
