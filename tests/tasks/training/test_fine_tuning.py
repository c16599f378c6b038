"""Which checkpoints a training resumes from."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.training.fine_tuning import _damage


def save_checkpoint(folder: Path) -> Path:
    folder.mkdir()
    save_file({"weights": torch.arange(100.0)}, folder / "model.safetensors")
    states = {
        "optimizer.pt": {"state": {0: torch.arange(100.0)}},
        "scheduler.pt": {"last_epoch": 3},
        "rng_state.pth": {"numpy": np.random.RandomState(0).get_state()},
    }
    for name, state in states.items():
        torch.save(state, folder / name)
    (folder / "trainer_state.json").write_text("{}")
    return folder


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill_with_noise(path: Path) -> None:
    path.write_bytes(os.urandom(1_000))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_a_whole_checkpoint_has_no_damage(tmp_path: Path) -> None:
    assert _damage(save_checkpoint(tmp_path / "checkpoint-1")) == ""


def test_a_flipped_bit_of_an_optimizer_is_named(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint-1")
    torch.save({"state": torch.arange(100_000.0)}, folder / "optimizer.pt")
    assert _damage(folder) == ""
    flip_a_bit(folder / "optimizer.pt")
    assert _damage(folder) == "optimizer.pt cannot be read (BadZipFile)"


@pytest.mark.parametrize("damage", [cut_short, fill_with_noise, empty, Path.unlink])
@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"],
)
def test_a_damaged_or_missing_file_is_named(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = save_checkpoint(tmp_path / "checkpoint-1")
    damage(folder / name)
    assert _damage(folder).startswith(f"{name} cannot be read (")
