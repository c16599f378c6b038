"""Which version is champion: a comparison on the candidate's test rows, or a choice by hand."""

import logging

import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from tqdm import tqdm

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from tasks import registry
from tasks.answers import ask, load_pipeline
from tasks.common.errors import ModelError
from tasks.pipelines import REGISTERED_NAME, Standing
from tasks.tracking import connect
from tasks.training import RegisteredModel
from tasks.training_rows import test_rows

logger = logging.getLogger(__name__)

_ROWS_A_TICK = 128


def choose(registered: RegisteredModel) -> Standing:
    """Give a new version its alias, by rule, and write the figures and the reason on it.

    The first full pipeline becomes champion. A later one does if, on its own test rows, scored
    again by both, its accuracy is no lower; else, or if it answers with other labels, it becomes
    challenger. A plain pipeline answers in another form and gets no alias.
    """
    candidate = registry.find_version(registered.name, str(registered.version))
    reason = candidate.tags.get("promotion_reason", "")
    aliases = registry.aliases(registered.name)
    if aliases.get(registry.CHAMPION) == registered.version:
        registry.set_champion(registered.name, candidate, reason)  # in case that was interrupted
        return Standing(alias="champion", reason=reason)
    if aliases.get(registry.CHALLENGER) == registered.version:
        return Standing(alias="challenger", reason=reason)
    if candidate.tags["kind"] == "plain":
        return Standing(alias=None, reason="a plain pipeline answers with bare labels")
    champion = aliases.get(registry.CHAMPION)
    standing = _compare(candidate, champion)
    # The comparison takes minutes, in which somebody may have chosen another by hand.
    while (current := registry.aliases(registered.name).get(registry.CHAMPION)) != champion:
        champion = current
        standing = _compare(candidate, champion)
    if standing.alias == registry.CHAMPION:
        registry.set_champion(registered.name, candidate, standing.reason)
    else:
        registry.set_challenger(registered.name, candidate, standing.reason)
    return standing


def promote_by_hand(reference: str, reason: str) -> RegisteredModel:
    """Make a version champion, whatever its figures.

    Args:
        reference: A version, an alias, a URI, or `previous` for the champion before this one.
        reason: Written on the version.

    Raises:
        ModelError: If there is no such version, or it is a plain pipeline.
        ParameterError: If `reference` names another model.
    """
    if reference == registry.PREVIOUS:
        version = registry.previous_champion(REGISTERED_NAME)
    else:
        version = registry.find_version(REGISTERED_NAME, reference)
    if version.tags.get("kind") == "plain":
        raise ModelError(
            f"{REGISTERED_NAME} version {version.version} is plain; expected a full pipeline"
        )
    registry.set_champion(REGISTERED_NAME, version, reason)
    return RegisteredModel(name=REGISTERED_NAME, version=int(version.version))


def _compare(candidate: ModelVersion, current: int | None) -> Standing:
    if current is None:
        return Standing(alias="champion", reason="the first version")
    champion = registry.find_version(REGISTERED_NAME, str(current))
    if set(registry.labels_of(candidate)) != set(registry.labels_of(champion)):
        reason = (
            f"other labels than champion {current}: {registry.labels_of(candidate)} "
            f"against {registry.labels_of(champion)}"
        )
        return Standing(alias="challenger", reason=reason)
    rows = test_rows(candidate.tags["training_run_id"])
    figures = {
        "accuracy": _accuracy(candidate, rows),
        "champion_accuracy": _accuracy(champion, rows),
    }
    _write_figures(candidate, figures | {"champion_version": current, "test_rows": len(rows)})
    better = figures["accuracy"] >= figures["champion_accuracy"]
    reason = (
        f"accuracy {figures['accuracy']:.4f} {'is no lower than' if better else 'is below'} "
        f"{figures['champion_accuracy']:.4f} of champion {current}, on {len(rows)} test rows"
    )
    return Standing(alias="champion" if better else "challenger", reason=reason)


def _accuracy(version: ModelVersion, rows: pd.DataFrame) -> float:
    model = load_pipeline(f"models:/{version.name}/{version.version}")
    right = 0
    with tqdm(total=len(rows), desc=f"version {version.version}", disable=None) as bar:
        for start in range(0, len(rows), _ROWS_A_TICK):
            part = rows.iloc[start : start + _ROWS_A_TICK]
            answers = ask(
                model, part["text"].tolist(), use_cache=False, batch_tokens=DEFAULT_BATCH_TOKENS
            )
            right += sum(
                answer["response"]["prediction_label"] == label
                for answer, label in zip(answers, part["label"], strict=True)
            )
            bar.update(len(part))
    return right / len(rows)


def _write_figures(version: ModelVersion, figures: dict[str, float]) -> None:
    client = connect()
    for name, value in figures.items():
        client.set_model_version_tag(version.name, version.version, name, str(value))
