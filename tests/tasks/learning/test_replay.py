"""The replay memory computes a text once, holds no text, and heals what is damaged."""

import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.dataset.splitting import digest_text
from tasks.learning.backbone import Backbone
from tasks.learning.replay import ReplayMemory

TEXTS = [f"a text that nobody may find, {row}" for row in range(40)]
BY_DIGEST = {digest_text(text): text for text in TEXTS}

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def backbone(tiny_classifier: Path) -> Backbone:
    return Backbone(tiny_classifier, max_tokens=16, name="models:/m/1")


def files() -> list[Path]:
    return sorted(get_settings().replay.glob("*/*.parquet"))


def test_a_text_is_computed_once(backbone: Backbone) -> None:
    first = dict(list(BY_DIGEST.items())[:30])
    memory = ReplayMemory(backbone)
    memory.add(first)
    assert memory.computed == 30
    later = ReplayMemory(backbone)
    later.add(BY_DIGEST)
    assert later.computed == 10
    again = ReplayMemory(backbone)
    again.add(BY_DIGEST)
    assert again.computed == 0
    found = again.features(list(BY_DIGEST), "m")
    assert found.dtype == np.float64
    assert np.abs(found - backbone.features(TEXTS)).max() < 5e-3
    assert (found == later.features(list(BY_DIGEST), "m")).all()


def test_a_file_has_16_bits_a_feature_and_no_text(backbone: Backbone) -> None:
    ReplayMemory(backbone).add(BY_DIGEST)
    (path,) = files()
    table = pq.read_table(path)
    assert str(table.schema.field("features").type) == "fixed_size_list<element: halffloat>[32]"
    assert set(table.column_names) == {"text_digest", "features"}
    assert all(b"nobody" not in path.read_bytes() for path in get_settings().replay.rglob("*.*"))


@pytest.mark.parametrize("damage", ["cut", "bit", "noise"])
def test_a_damaged_file_is_computed_again_with_a_warning(
    backbone: Backbone, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = ReplayMemory(backbone)
    memory.add(BY_DIGEST)
    expected = memory.features(list(BY_DIGEST), "m")
    (path,) = files()
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    damaged = {"cut": content[: len(content) // 2], "noise": bytearray(b"noise")}
    path.write_bytes(damaged.get(damage, content))
    later = ReplayMemory(backbone)
    with caplog.at_level(logging.WARNING):
        later.add(BY_DIGEST)
    assert f"{path} is damaged" in caplog.text
    assert later.computed == 40
    assert (later.features(list(BY_DIGEST), "m") == expected).all()
    assert path not in files()


def test_features_of_texts_that_are_gone_are_counted(backbone: Backbone) -> None:
    memory = ReplayMemory(backbone)
    memory.add({digest_text(TEXTS[0]): TEXTS[0]})
    message = r"^models:/m/1: .*/replay/.* lacks the features of 39 of 40 rows, .*: train again$"
    with pytest.raises(ModelError, match=message):
        memory.features(list(BY_DIGEST), "models:/m/1")


def test_what_16_bits_cannot_hold_is_refused(backbone: Backbone) -> None:
    pooler = backbone.model.bert.pooler
    pooler.activation = torch.nn.Identity()
    pooler.dense.weight.requires_grad_(False).mul_(1e6)
    with pytest.raises(ModelError, match=r"a feature is no finite number of 16 bits; expected"):
        ReplayMemory(backbone).add(BY_DIGEST)
    assert files() == []
