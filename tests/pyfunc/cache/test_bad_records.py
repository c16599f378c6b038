"""A record that is not ours is not loaded, and costs the computation of its own row."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import pytest

from pyfunc.cache.cache import PredictionCache, TextDisk
from tests.pyfunc.cache.contents import ANSWER, TEXTS, Ask, cached, database, filled


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._target),)


def plant_a_pickled_value(folder: Path, bomb: bytes) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET mode = 4, value = ?", (bomb,))


def plant_a_pickled_file(folder: Path, bomb: bytes) -> None:
    (folder / "bomb.val").write_bytes(bomb)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET mode = 4, filename = 'bomb.val', value = NULL")


def plant_pickled_bytes_as_text(folder: Path, bomb: bytes) -> None:
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = ?", (bomb,))


@pytest.mark.parametrize(
    "plant", [plant_a_pickled_value, plant_a_pickled_file, plant_pickled_bytes_as_text]
)
def test_a_planted_pickle_is_not_loaded_and_costs_a_computation(
    ask: Ask,
    folder: Path,
    tmp_path: Path,
    right: list[dict[str, Any]],
    plant: Callable[[Path, bytes], None],
) -> None:
    filled(folder, ask)
    plant(folder, pickle.dumps(Bomb(tmp_path / "loaded")))
    cache = PredictionCache(folder, "f")
    assert ask(cache) == right
    assert cache.failures == len(TEXTS)
    assert cached(ask(cache)) == [True] * 3
    assert not (tmp_path / "loaded").exists()


def test_a_planted_pickled_key_is_not_loaded(ask: Ask, folder: Path, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "loaded"))
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute(
            "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 'x')", [bomb]
        )
    assert cached(ask(PredictionCache(folder, "f"))) == [True] * 3
    with pytest.raises(ValueError, match="a key is not text"):
        list(diskcache.Cache(folder, disk=TextDisk))
    assert not (tmp_path / "loaded").exists()


def test_a_planted_file_name_removes_no_file(ask: Ask, folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET filename = '../victim', mode = 2")
    ask(PredictionCache(folder, "f"))
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET filename = '../victim', mode = 2")
    small = PredictionCache(folder, "f", size_limit=1)
    small.store_many({"a text": ANSWER})
    assert small.get_many(["a text"]) == {}
    assert victim.exists()


@pytest.mark.parametrize(
    "record", ["", "garbage", "[]", "{}", '{"prediction": {}}', "[" * 100_000, 7, None, b"\xff"]
)
def test_a_record_of_another_shape_costs_a_computation_and_is_mended(
    ask: Ask,
    folder: Path,
    right: list[dict[str, Any]],
    warnings: Callable[[], list[str]],
    record: object,
) -> None:
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = ?", (record,))
    cache = PredictionCache(folder, "f")
    assert ask(cache) == right
    assert cache.failures == len(TEXTS)
    assert len(warnings()) == 1
    assert cached(ask(cache)) == [True] * 3


BAD_RECORDS = {
    "garbage": "'garbage'",
    "text that is not UTF-8": "CAST(x'7bff' AS TEXT)",
    "a number": "7",
    "bytes": "x'7b7d'",
    "nothing": "NULL",
}


@pytest.mark.parametrize("record", BAD_RECORDS.values(), ids=list(BAD_RECORDS))
def test_one_bad_record_costs_its_own_row_alone(ask: Ask, folder: Path, record: str) -> None:
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute(f"UPDATE Cache SET value = {record} WHERE rowid = 2")
    cache = PredictionCache(folder, "f")
    assert sorted(cached(ask(cache))) == [False, True, True]
    assert cache.failures == 1


@pytest.mark.parametrize("mode", ["0", "2", "3", "4", "NULL", "'text'", "CAST(x'ff' AS TEXT)"])
def test_text_in_any_mode_but_raw_is_refused(ask: Ask, folder: Path, mode: str) -> None:
    filled(folder, ask)
    with database(folder) as connection:
        connection.execute(f"UPDATE Cache SET mode = {mode} WHERE rowid = 2")
    cache = PredictionCache(folder, "f")
    assert sorted(cached(ask(cache))) == [False, True, True]
    assert cache.failures == 1


def test_a_key_that_is_not_raw_is_not_found(folder: Path) -> None:
    PredictionCache(folder, "f").store_many({"a text": ANSWER})
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET raw = 0")
    cache = PredictionCache(folder, "f")
    assert cache.get_many(["a text"]) == {}
    assert cache.failures == 0
