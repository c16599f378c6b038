"""Texts are read as the model's own tokenizer reads them, and padded as transformers pads them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from pyfunc.errors import ArtifactError
from pyfunc.tokens import INPUT_NAMES, Encoder, TokenBatch, Tokens, chunk_texts
from tasks.common.settings import REPOSITORY
from tests.support.references import TEXTS, Reference

MAX_TOKENS = 16

unhurried = settings(suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def encoder(tiny_classifier: Path) -> Encoder:
    return Encoder(tiny_classifier, max_tokens=MAX_TOKENS)


# Encoding


def test_ids_are_those_of_transformers(encoder: Encoder, reference: Reference) -> None:
    for text, tokens in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        assert tokens.ids.tolist() == reference.ids(text)
        assert tokens.types is None


@unhurried
@given(st.lists(st.text(), max_size=6))
def test_a_text_is_read_alike_in_any_company(encoder: Encoder, texts: list[str]) -> None:
    together = encoder.encode(texts)
    alone = [encoder.encode([text])[0] for text in texts]
    assert [tokens.ids.tolist() for tokens in together] == [row.ids.tolist() for row in alone]
    assert [tokens.truncated for tokens in together] == [row.truncated for row in alone]


@unhurried
@example(words=MAX_TOKENS - 2, word="good")  # [CLS] and [SEP] are tokens, too
@example(words=MAX_TOKENS - 1, word="good")
@given(
    words=st.integers(0, 2 * MAX_TOKENS), word=st.sampled_from(["good", "很", "unevenness", "!"])
)
def test_a_text_is_truncated_exactly_when_it_has_more_tokens_than_the_model_reads(
    encoder: Encoder, reference: Reference, words: int, word: str
) -> None:
    text = " ".join([word] * words)
    (tokens,) = encoder.encode([text])
    assert tokens.truncated is (reference.tokens(text) > MAX_TOKENS)


def test_a_tokenizer_that_cuts_at_the_left_does_so_here(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "left")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": "left"}))
    text = "bad " * 20 + "good " * 20
    (tokens,) = Encoder(folder, max_tokens=MAX_TOKENS).encode([text])
    assert tokens.ids.tolist() == Reference(folder).ids(text)
    assert tokens.truncated


def test_threads_may_encode_at_once(encoder: Encoder) -> None:
    expected = [tokens.ids.tolist() for tokens in encoder.encode(TEXTS)]
    with ThreadPoolExecutor(8) as threads:
        for rows in threads.map(encoder.encode, [TEXTS] * 64):
            assert [tokens.ids.tolist() for tokens in rows] == expected


@given(st.lists(st.text(max_size=9)), st.integers(1, 20))
def test_texts_are_tokenized_in_parts_of_limited_size_and_in_order(
    texts: list[str], characters: int
) -> None:
    found = list(chunk_texts(texts, characters))
    assert [text for part in found for text in part] == texts
    assert all(sum(map(len, part)) <= characters or len(part) == 1 for part in found)


@pytest.mark.slow
def test_many_texts_of_100000_characters_take_the_memory_of_a_few(tiny_classifier: Path) -> None:
    script = """
import re, sys
from pathlib import Path
from pyfunc.tokens import Encoder
encoder = Encoder(Path(sys.argv[1]), max_tokens=16)
def peak_mib():
    # Not ru_maxrss, which a child inherits from the process that starts it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024
encoder.encode(["warm"])
before = peak_mib()
assert all(row.truncated for row in encoder.encode(["很" * 100_000] * 24))
print(peak_mib() - before)
"""
    child = subprocess.run(
        [sys.executable, "-c", script, str(tiny_classifier)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < 350  # MiB; all at once they take 540


# Padding


def with_ids(*ids: int, types: list[int] | None = None) -> Tokens:
    return Tokens(
        np.array(ids, np.int32), None if types is None else np.array(types, np.int32), False
    )


def test_rows_are_padded_to_the_longest_as_transformers_pads_them(
    tiny_classifier: Path, encoder: Encoder
) -> None:
    expected = AutoTokenizer.from_pretrained(tiny_classifier)(
        TEXTS, truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="np"
    )
    inputs = encoder.pad(encoder.encode(TEXTS)).inputs(INPUT_NAMES)
    assert set(inputs) == set(expected)
    for name, array in inputs.items():
        assert array.dtype == np.int64
        assert array.tolist() == expected[name].tolist()


def test_padding_and_segments_are_what_the_model_and_the_tokenizer_say(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "padded")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token_id": 7}))
    rows = [with_ids(3, 4, 5, types=[0, 1, 1]), with_ids(6)]
    batch = Encoder(folder, max_tokens=MAX_TOKENS).pad(rows)
    assert batch.ids.tolist() == [[3, 4, 5], [6, 7, 7]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.types.tolist() == [[0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("length", "expected"), [(1, [[3, 4], [5, 0]]), (3, [[3, 4, 0], [5, 0, 0]])]
)
def test_rows_are_padded_to_the_length_asked_for_unless_one_is_longer(
    encoder: Encoder, length: int, expected: list[list[int]]
) -> None:
    assert encoder.pad([with_ids(3, 4), with_ids(5)], length).ids.tolist() == expected


def test_a_model_gets_the_arrays_that_it_takes_and_no_others() -> None:
    ids, mask, types = (np.full((1, 1), number) for number in (5, 1, 0))
    batch = TokenBatch(ids, mask, types)
    assert batch.inputs(["attention_mask", "input_ids"]) == {
        "attention_mask": mask,
        "input_ids": ids,
    }


def test_an_id_that_the_model_has_no_embedding_for_is_refused(encoder: Encoder) -> None:
    assert encoder.pad([with_ids(30_521)]).ids.tolist() == [[30_521]]
    with pytest.raises(IndexError, match="a token id: expected less than 30522"):
        encoder.pad([with_ids(1), with_ids(30_522)])


# What cannot be used


def remove_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def spoil_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def spoil_the_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def list_the_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def remove_the_tokenizers_configuration(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (remove_the_tokenizer, "tokenizer.json"),
        (spoil_the_tokenizer, "tokenizer.json"),
        (spoil_the_configuration, "config.json"),
        (list_the_configuration, "config.json"),
        (remove_the_tokenizers_configuration, "tokenizer_config.json"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line_that_names_it(
    tiny_classifier: Path, tmp_path: Path, spoil: Callable[[Path], None], name: str
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "classifier")
    spoil(folder)
    with pytest.raises(ArtifactError) as error:
        Encoder(folder, max_tokens=MAX_TOKENS)
    assert str(error.value).startswith(str(folder))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("max_tokens", [-1, 0, 2, 513])
def test_a_length_that_the_model_cannot_read_is_refused(
    tiny_classifier: Path, max_tokens: int
) -> None:
    with pytest.raises(ArtifactError, match=f"max_tokens: {max_tokens}; expected 3 to 512"):
        Encoder(tiny_classifier, max_tokens=max_tokens)
