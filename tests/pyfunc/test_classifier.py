import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from pyfunc.classifier import Classifier, read_labels
from pyfunc.engines.engine import Logits
from pyfunc.engines.torch import TorchEngine
from pyfunc.errors import ArtifactError
from pyfunc.spec import Variant
from pyfunc.tokens import TokenBatch
from tests.support.builders import torch_classifier
from tests.support.references import TEXTS, Reference, close
from tests.support.tiny_models import LABELS


def test_a_prediction_is_the_likeliest_label_with_its_probability(
    classifier: Classifier,
) -> None:
    predictions = classifier.predict(TEXTS)
    for prediction, row in zip(predictions, classifier.probabilities(TEXTS), strict=True):
        assert prediction.score == max(row)
        assert prediction.label == LABELS[row.tolist().index(max(row))]
    assert {prediction.label for prediction in predictions} == set(LABELS)


def test_a_prediction_says_whether_its_text_was_cut(classifier: Classifier) -> None:
    predictions = classifier.predict(["good " * 14, "good " * 15, "good"])
    assert [prediction.truncated for prediction in predictions] == [False, True, False]


@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0, 50.0])
def test_a_temperature_changes_scores_as_it_says_and_no_label(
    tiny_classifier: Path, classifier: Classifier, temperature: float
) -> None:
    scaled = Classifier(tiny_classifier, classifier.engine, max_tokens=16, temperature=temperature)
    powers = classifier.probabilities(TEXTS).astype(float) ** (1 / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert scaled.probabilities(TEXTS) == pytest.approx(expected, abs=1e-4)
    labels = [prediction.label for prediction in classifier.predict(TEXTS)]
    assert [prediction.label for prediction in scaled.predict(TEXTS)] == labels


class Constant:
    """An engine whose logits are always the same."""

    variant, device, callers, streams = Variant("torch", "f32"), "cpu", 1, 1

    def __init__(self, *logits: float) -> None:
        self._row = np.array(logits, np.float32)

    def logits(self, batch: TokenBatch) -> Logits:
        return np.tile(self._row, (len(batch.ids), 1))


def test_logits_that_differ_by_less_than_their_scores_keep_their_label(
    tiny_classifier: Path,
) -> None:
    engine = Constant(1.0, float(np.nextafter(np.float32(1.0), np.float32(2.0))))
    hot = Classifier(tiny_classifier, engine, max_tokens=16, temperature=100.0)
    (prediction,) = hot.predict(["a film"])
    assert (prediction.label, prediction.score) == (LABELS[1], 0.5)


def test_no_texts_have_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.probabilities([]).shape == (0, 2)


def test_more_than_two_labels_work(tiny_classifier: Path, tmp_path: Path) -> None:
    names = {0: "bad", 1: "mixed", 2: "good"}
    config = AutoModelForSequenceClassification.from_pretrained(tiny_classifier).config
    config.id2label, config.label2id = names, {name: index for index, name in names.items()}
    folder = shutil.copytree(tiny_classifier, tmp_path / "three")
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    classifier = torch_classifier(folder)
    assert classifier.labels == ["bad", "mixed", "good"]
    expected = [Reference(folder).probabilities(text) for text in TEXTS]
    assert classifier.probabilities(TEXTS).tolist() == close(expected)


@pytest.mark.parametrize("max_tokens", [3, 512])
def test_the_least_and_the_greatest_length_work(tiny_classifier: Path, max_tokens: int) -> None:
    classifier = torch_classifier(tiny_classifier, max_tokens=max_tokens)
    expected = Reference(tiny_classifier, max_tokens).probabilities("good " * 600)
    assert classifier.probabilities(["good " * 600]).tolist() == close([expected])


class Watched(TorchEngine):
    """Two streams; notes the shape of each batch and how many come at once, and may fail."""

    callers = 2

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "f32")
        self.shapes: list[tuple[int, int]] = []
        self.most = 0
        self.fails = False
        self._running = 0
        self._lock = Lock()

    def logits(self, batch: TokenBatch) -> Logits:
        rows, tokens = batch.ids.shape
        with self._lock:
            self.shapes.append((rows, tokens))
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            if self.fails:
                # So that whoever waits for it gets its turn before all batches have failed.
                time.sleep(0.01)
                raise MemoryError
            return super().logits(batch)
        finally:
            with self._lock:
                self._running -= 1


@pytest.fixture
def watched(tiny_classifier: Path) -> Watched:
    return Watched(tiny_classifier)


def test_texts_of_like_length_are_computed_together_within_the_budget(
    tiny_classifier: Path, watched: Watched
) -> None:
    # [CLS] and [SEP] are tokens, too.
    texts = ["good " * (tokens - 2) for tokens in (3, 16, 4, 8, 3)]
    Classifier(tiny_classifier, watched, max_tokens=16).predict(texts, 16)
    assert sorted(watched.shapes) == [(1, 16), (2, 3), (2, 8)]


def test_texts_are_padded_to_few_lengths_and_never_beyond_the_longest_allowed(
    tiny_classifier: Path, watched: Watched
) -> None:
    texts = ["good " * (tokens - 2) for tokens in range(30, 110)]
    padded = Classifier(tiny_classifier, watched, max_tokens=101)
    expected = [Reference(tiny_classifier, 101).probabilities(text) for text in texts]
    assert padded.probabilities(texts, 1).tolist() == close(expected)
    lengths = {30, 32, 36, 40, 44, 48, 52, 56, 60, 64, 72, 80, 88, 96, 101}
    assert {length for _, length in watched.shapes} == lengths


def test_no_more_batches_are_computed_at_once_than_the_engine_has_streams(
    tiny_classifier: Path, watched: Watched
) -> None:
    Classifier(tiny_classifier, watched, max_tokens=16).predict(TEXTS * 20, 1)
    assert len(watched.shapes) == len(TEXTS) * 20
    assert watched.most == 2


def test_a_batch_that_fails_is_an_error_and_the_next_call_works(
    tiny_classifier: Path, watched: Watched, classifier: Classifier
) -> None:
    failing = Classifier(tiny_classifier, watched, max_tokens=16)
    watched.fails = True
    with pytest.raises(MemoryError):
        failing.predict(TEXTS * 50, 1)
    watched.fails = False
    assert failing.probabilities(TEXTS).tolist() == close(classifier.probabilities(TEXTS).tolist())
    # What was queued behind the failure was not computed for nobody.
    assert len(watched.shapes) < len(TEXTS) * 50


def cut_the_weights_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])


def remove_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def spoil_the_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def remove_everything(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "spoil",
    [cut_the_weights_short, remove_the_weights, spoil_the_configuration, remove_everything],
)
def test_a_folder_that_cannot_be_used_is_one_line_that_names_it(
    tiny_classifier: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "classifier")
    spoil(folder)
    with pytest.raises(ArtifactError) as error:
        TorchEngine(folder, "f32")
    assert str(error.value).startswith(f"{folder}: expected ")
    assert "\n" not in str(error.value)


def test_a_model_without_a_classifier_is_refused_and_not_given_random_weights(
    tiny_base: Path,
) -> None:
    with pytest.raises(ArtifactError, match=r"without .*classifier.weight"):
        TorchEngine(tiny_base, "f32")


def test_labels_without_names_get_those_of_transformers(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_classifier, tmp_path / "nameless")
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (folder / "config.json").write_text(json.dumps(config))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert read_labels(folder) == [model.config.id2label[label] for label in (0, 1)]


def test_labels_come_in_the_order_of_the_outputs_and_not_of_the_file(tmp_path: Path) -> None:
    names = {str(label): f"label {label}" for label in (10, 2, 1, 0)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    assert read_labels(tmp_path) == ["label 0", "label 1", "label 2", "label 10"]
