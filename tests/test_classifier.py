import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pyfunc.classifier import Classifier, _batches, _parts
from pyfunc.errors import ArtifactError
from tasks.settings import REPOSITORY
from tests.builders import one_torch_thread
from tests.conftest import LABELS

MAX_TOKENS = 16

TEXTS = [
    "Great movie",
    "what a disappointing movie",
    "很好看的电影",
    "an uneven film that " * 20,
    "",
    "\0 null",
    "[CLS] [SEP] [MASK] [PAD]",
    "café\u0301 naïve ÆØÅ",
    "שלום עולם",
    "😀👍🏽" * 9,
    "a" * 300,
]

unhurried = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Classifier:
    return Classifier(tiny_classifier, max_tokens=MAX_TOKENS, precision="f32")


class Reference:
    """The model as a reader of transformers' documentation would run it, text by text."""

    def __init__(self, folder: Path, max_tokens: int = MAX_TOKENS) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._max_tokens = max_tokens

    @torch.no_grad()
    def probabilities(self, text: str) -> list[float]:
        inputs = self._tokenizer(
            text, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        )
        probabilities: list[float] = self._model(**inputs).logits.softmax(-1)[0].tolist()
        return probabilities

    def tokens(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])


@pytest.fixture(scope="module")
def reference(tiny_classifier: Path) -> Reference:
    return Reference(tiny_classifier)


def close(rows: list[list[float]], tolerance: float = 1e-5) -> list[Any]:
    return [pytest.approx(row, abs=tolerance, rel=0) for row in rows]


def test_probabilities_are_those_of_transformers(
    classifier: Classifier, reference: Reference
) -> None:
    expected = [reference.probabilities(text) for text in TEXTS]
    assert max(abs(row[0] - expected[0][0]) for row in expected) > 0.1
    assert classifier.probabilities(TEXTS, batch_tokens=64) == close(expected)


@unhurried
@given(texts=st.lists(st.text(), max_size=6), batch_tokens=st.integers(1, 200))
def test_probabilities_of_any_texts_are_those_of_transformers(
    classifier: Classifier, reference: Reference, texts: list[str], batch_tokens: int
) -> None:
    expected = [reference.probabilities(text) for text in texts]
    assert classifier.probabilities(texts, batch_tokens) == close(expected)


def test_a_prediction_is_the_likeliest_label_with_its_probability(
    classifier: Classifier,
) -> None:
    predictions = classifier.predict(TEXTS)
    for prediction, row in zip(predictions, classifier.probabilities(TEXTS), strict=True):
        assert prediction.score == max(row)
        assert prediction.label == LABELS[row.index(max(row))]
    assert {prediction.label for prediction in predictions} == set(LABELS)


def test_no_texts_have_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.probabilities([]) == []


@unhurried
@example(words=MAX_TOKENS - 2, word="good")  # [CLS] and [SEP] are tokens, too
@example(words=MAX_TOKENS - 1, word="good")
@given(
    words=st.integers(0, 2 * MAX_TOKENS), word=st.sampled_from(["good", "很", "unevenness", "!"])
)
def test_a_text_is_truncated_exactly_when_it_has_more_tokens_than_the_model_reads(
    classifier: Classifier, reference: Reference, words: int, word: str
) -> None:
    text = " ".join([word] * words)
    (prediction,) = classifier.predict([text])
    assert prediction.truncated is (reference.tokens(text) > MAX_TOKENS)


def test_more_than_two_labels_work(tiny_classifier: Path, tmp_path: Path) -> None:
    names = {0: "bad", 1: "mixed", 2: "good"}
    config = AutoModelForSequenceClassification.from_pretrained(tiny_classifier).config
    config.id2label, config.label2id = names, {name: index for index, name in names.items()}
    folder = shutil.copytree(tiny_classifier, tmp_path / "three")
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    classifier = Classifier(folder, max_tokens=MAX_TOKENS, precision="f32")
    assert classifier.labels == ["bad", "mixed", "good"]
    expected = [Reference(folder).probabilities(text) for text in TEXTS]
    assert classifier.probabilities(TEXTS) == close(expected)


def test_a_tokenizer_that_cuts_at_the_left_does_so_here(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "left")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": "left"}))
    text = "bad " * 20 + "good " * 20
    classifier = Classifier(folder, max_tokens=MAX_TOKENS, precision="f32")
    assert classifier.probabilities([text]) == close([Reference(folder).probabilities(text)])


def test_bf16_gives_close_answers(classifier: Classifier, tiny_classifier: Path) -> None:
    rough = Classifier(tiny_classifier, max_tokens=MAX_TOKENS, precision="bf16")
    exact = classifier.probabilities(TEXTS)
    assert rough.probabilities(TEXTS) == close(exact, 1e-2)
    assert rough.probabilities(TEXTS) != close(exact, 1e-6)


def test_threads_that_predict_at_once_get_the_answers_they_would_get_alone(
    classifier: Classifier,
) -> None:
    batches = [TEXTS[start:] + TEXTS[:start] for start in range(len(TEXTS))] * 6
    alone = [classifier.probabilities(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(classifier.probabilities, batches))
    assert together == [close(rows) for rows in alone]


@given(st.lists(st.integers(1, 40)), st.integers(1, 100))
def test_a_batch_fits_or_is_one_row_and_no_row_is_lost(
    lengths: list[int], batch_tokens: int
) -> None:
    batches = list(_batches(lengths, batch_tokens))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= batch_tokens or len(batch) == 1


def test_rows_of_equal_length_fill_their_batches() -> None:
    assert [len(batch) for batch in _batches([8] * 10, 32)] == [4, 4, 2]


@given(st.lists(st.text(max_size=9)), st.integers(1, 20))
def test_texts_are_tokenized_in_parts_of_limited_size_and_in_order(
    texts: list[str], characters: int
) -> None:
    parts = list(_parts(texts, characters))
    assert [text for part in parts for text in part] == texts
    assert all(sum(map(len, part)) <= characters or len(part) == 1 for part in parts)


@pytest.mark.slow
def test_many_texts_of_100000_characters_take_the_memory_of_a_few(tiny_classifier: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from pyfunc.classifier import Classifier
classifier = Classifier(Path(sys.argv[1]), max_tokens=16, precision="f32")
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
classifier.predict(["warm"])
before = peak_mib()
assert all(row.truncated for row in classifier.predict(["很" * 100_000] * 24))
print(peak_mib() - before)
"""
    child = subprocess.run(
        [sys.executable, "-c", script, str(tiny_classifier)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < 150  # MiB; all at once they take 340 more


def cut_the_weights_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])


def remove_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def spoil_the_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def remove_everything(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "spoil",
    [cut_the_weights_short, remove_the_tokenizer, spoil_the_configuration, remove_everything],
)
def test_a_folder_that_cannot_be_used_is_one_line_that_names_it(
    tiny_classifier: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "classifier")
    spoil(folder)
    with pytest.raises(ArtifactError) as error:
        Classifier(folder, max_tokens=MAX_TOKENS, precision="f32")
    assert str(error.value).startswith(f"{folder}: expected ")
    assert "\n" not in str(error.value)


def test_a_model_without_a_classifier_is_refused_and_not_given_random_weights(
    tiny_base: Path,
) -> None:
    with pytest.raises(ArtifactError, match=r"without .*classifier.weight"):
        Classifier(tiny_base, max_tokens=MAX_TOKENS, precision="f32")


@pytest.mark.parametrize("max_tokens", [-1, 0, 2, 513])
def test_a_length_that_the_model_cannot_read_is_refused(
    tiny_classifier: Path, max_tokens: int
) -> None:
    with pytest.raises(ArtifactError, match=f"max_tokens: {max_tokens}; expected 3 to 512"):
        Classifier(tiny_classifier, max_tokens=max_tokens, precision="f32")


@pytest.mark.parametrize("max_tokens", [3, 512])
def test_the_least_and_the_greatest_length_work(tiny_classifier: Path, max_tokens: int) -> None:
    classifier = Classifier(tiny_classifier, max_tokens=max_tokens, precision="f32")
    expected = Reference(tiny_classifier, max_tokens).probabilities("good " * 600)
    assert classifier.probabilities(["good " * 600]) == close([expected])
