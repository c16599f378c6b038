"""How long a training lasts, which weights it keeps, and how rare labels count."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.training.trainer import ClassifierTrainer, TokenisedRows
from tasks.training.types import FineTuneParameters
from tests.support.tiny_models import LABELS


def rows_of(negative: int, positive: int) -> pd.DataFrame:
    texts = [f"an awful film, {row}" for row in range(negative)]
    texts += [f"a great film, {row}" for row in range(positive)]
    labels = [LABELS[0]] * negative + [LABELS[1]] * positive
    return pd.DataFrame({"text": texts, "label": labels})


def trainer_of(
    classifier: Path, folder: Path, parameters: FineTuneParameters, train: pd.DataFrame
) -> ClassifierTrainer:
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    return ClassifierTrainer(
        AutoModelForSequenceClassification.from_pretrained(classifier),
        tokenizer,
        parameters,
        train=TokenisedRows(train, LABELS, tokenizer),
        validation=TokenisedRows(rows_of(10, 10), LABELS, tokenizer),
        checkpoints=folder,
    )


@pytest.mark.parametrize(
    ("rows", "parameters", "steps"),
    [
        (1_200, FineTuneParameters(), 200),
        (4_000, FineTuneParameters(), 200),
        (4_000, FineTuneParameters(min_steps=0), 125),
        (40_000, FineTuneParameters(), 1_250),
        (10, FineTuneParameters(epochs=3, min_steps=2), 3),
    ],
)
def test_steps_are_those_of_the_epochs_or_more(
    rows: int, parameters: FineTuneParameters, steps: int
) -> None:
    assert parameters.steps(rows) == steps


@pytest.mark.usefixtures("new_database")
def test_training_stops_when_its_loss_rises_and_has_the_weights_of_the_lowest(
    home: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    import mlflow

    parameters = FineTuneParameters(epochs=300, batch_size=8, learning_rate=0.02)
    trainer = trainer_of(tiny_classifier, tmp_path, parameters, rows_of(16, 16))
    connect()
    with mlflow.start_run(experiment_id=ensure_experiment("trainer")) as run:
        trainer.train()
        loss = trainer.evaluate()["eval_loss"]
    history = connect().get_metric_history(run.info.run_id, "validation_loss")
    losses = {point.step: point.value for point in history}
    best = trainer.state.best_global_step or 0
    assert trainer.state.global_step < 1_200
    assert trainer.state.global_step - best > 50
    assert losses[best] == min(losses.values())
    assert loss == pytest.approx(min(losses.values()), rel=1e-3)
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2


def test_rows_of_a_rare_label_count_more_if_asked(tiny_classifier: Path, tmp_path: Path) -> None:
    train = rows_of(30, 10)
    losses = {}
    for choice in ("none", "auto"):
        parameters = FineTuneParameters(class_weights=choice)
        trainer = trainer_of(tiny_classifier, tmp_path, parameters, train)
        assert trainer.model is not None
        model = trainer.model.eval()
        tokenizer = AutoTokenizer.from_pretrained(tiny_classifier)
        batch = tokenizer(["an awful film", "a great film"], return_tensors="pt", padding=True)
        inputs = {**batch, "labels": torch.tensor([0, 1])}
        with torch.no_grad():
            losses[choice] = float(trainer.compute_loss(model, dict(inputs)))
            logits = model(**batch).logits
    each = torch.nn.functional.cross_entropy(logits, inputs["labels"], reduction="none").tolist()
    assert losses["none"] == pytest.approx(sum(each) / 2, rel=1e-4)
    # 40 rows by 2 labels: a row of the label with 30 counts 2/3, one of the other 2.
    expected = (each[0] * 2 / 3 + each[1] * 2) / (2 / 3 + 2)
    assert losses["auto"] == pytest.approx(expected, rel=1e-4)
