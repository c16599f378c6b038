"""A registered version is planned once more, with other versions in the place of members."""

from pathlib import Path

import pytest

from tasks.building.replanning import replan
from tasks.common.errors import ModelError
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, RegisteredModel
from tests.support.builders import Composed, Trained
from tests.support.business import build_with_rules, write_composition

RULES = """
def after(rows):
    return rows[["prediction_label"]].rename(columns={"prediction_label": "queue"})
"""


def test_a_composed_version_keeps_what_learnt_nothing(composed: Composed) -> None:
    champion = RegisteredModel.from_uri(composed.uri)
    found = RegisteredModel(name=FINETUNED_MODEL, version=7, reused=True)
    plan, former = replan(champion, {"film": found}), replan(champion, {})
    assert plan.answer == former.answer
    assert {name: member.max_tokens for name, member in plan.members.items()} == {
        "kind": 8,
        "quick": 4,
        "film": 32,
    }
    assert {name: member.finetuned.version for name, member in plan.members.items()} == {
        "kind": 1,
        "quick": 1,
        "film": 7,
    }
    assert not plan.members["film"].finetuned.reused


def test_a_single_member_is_found_whatever_a_file_calls_it(
    trained_anew: Trained, tmp_path: Path
) -> None:
    finetuned = trained_anew.training["finetuned_model"]
    built = build_with_rules(
        write_composition(tmp_path, finetuned, lookups="rules: ticket_rules.py\n", rules=RULES)
    )
    other = RegisteredModel(name=FINETUNED_MODEL, version=7)
    plan = replan(RegisteredModel.from_uri(built), {"model": other})
    assert {name: member.finetuned.version for name, member in plan.members.items()} == {"film": 7}
    assert plan.file == built  # in errors; the file is another build


def test_a_version_without_a_plan_is_to_be_built_again(composed: Composed) -> None:
    client, earlier = connect(), RegisteredModel.from_uri(composed.uri)
    run = client.create_run(client.create_experiment("without a plan"))
    version = client.get_model_version(earlier.name, str(earlier.version))
    copy = client.create_model_version(
        earlier.name, str(version.source), run_id=run.info.run_id, tags=version.tags
    )
    with pytest.raises(ModelError, match=r"was built before plans were logged; expected a version"):
        replan(RegisteredModel(name=earlier.name, version=int(copy.version)), {})
    client.delete_model_version(earlier.name, copy.version)
