"""Where base models come from, and what is refused."""

import traceback
from pathlib import Path

import pytest
from safetensors import safe_open

from tasks.common.errors import ModelError, ParameterError, TransientDownloadError
from tasks.training.base_models import base_model_folder


def test_the_packaged_model_is_the_upstream_one() -> None:
    folder = base_model_folder("minilm")
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert weights.get_slice("embeddings.word_embeddings.weight").get_shape() == [30_522, 384]


def test_a_folder_is_taken_as_it_is(tiny_base: Path) -> None:
    assert base_model_folder(str(tiny_base)) == tiny_base.resolve()


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ModelError, match=r"has no \*.safetensors; expected weights in that form"):
        base_model_folder(str(tmp_path))


WEIGHTS = {"model.safetensors": ""}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"adapter_config.json": "{}", "adapter_model.safetensors": ""},
            "is an adapter (adapter_config.json); expected the whole model",
        ),
        (
            {"config.json": '{"auto_map": {"AutoConfig": "own.Config"}, "model_type": "own"}'},
            "needs Python code of its own (config.json: auto_map); expected none",
        ),
        (
            {"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["own.Words", null]}}'},
            "needs Python code of its own (tokenizer_config.json: auto_map); expected none",
        ),
        ({"spm.model": ""}, "has its tokenizer as spm.model alone, which needs the package senten"),
        ({"sentencepiece.bpe.model": ""}, "has its tokenizer as sentencepiece.bpe.model alone, wh"),
    ],
)
def test_files_that_cannot_be_trained_are_named(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, content in (WEIGHTS | files).items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError) as raised:
        base_model_folder(str(tmp_path))
    assert str(raised.value).startswith(f"base_model: {tmp_path} {message}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": '{"auto_map": {"AutoConfig": "own.Config"}, "model_type": "bert"}'},
        {"spm.model": "", "tokenizer.json": "{}"},
    ],
)
def test_what_is_not_needed_is_no_obstacle(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in (WEIGHTS | files).items():
        (tmp_path / name).write_text(content)
    assert base_model_folder(str(tmp_path)) == tmp_path.resolve()


def test_what_is_neither_folder_nor_id_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"^base_model: 'no such/thing/here' is no folder"):
        base_model_folder("no such/thing/here")


def test_a_token_in_an_address_is_not_quoted() -> None:
    address = "https://me:hf_hunter2@huggingface.co/o/n"
    with pytest.raises(ParameterError, match=r"^base_model: 'https://huggingface.co/o/n' is") as e:
        base_model_folder(address)
    assert "hunter2" not in "".join(traceback.format_exception(e.value))


def test_a_hub_that_cannot_be_reached_is_worth_another_attempt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TransientDownloadError, match=r"^base_model: 'someone/model' is no folder"):
        base_model_folder("someone/model")
