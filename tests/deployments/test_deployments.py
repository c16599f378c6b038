"""What `prefect.yaml` deploys, and the forms that the UI draws of it."""

import inspect
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from tasks.common.settings import REPOSITORY

# Each flow, and the deployment by which it is started by hand with a form.
ENTRYPOINTS = {
    "flows/train_classifier.py:train_classifier": "train-classifier/train",
    "flows/build_inference_pipeline.py:build_inference_pipeline": "build-inference-pipeline/build",
    "flows/promote_pipeline.py:promote_pipeline": "promote-pipeline/promote",
    "flows/score_shards.py:score_shards": "score-shards/score-files",
    "flows/end_to_end.py:end_to_end": "end-to-end/train-and-score",
    "flows/explain_prediction.py:explain_prediction": "explain-prediction/explain-row",
    "flows/prune_cache.py:prune_cache": "prune-cache/drop-old-answers",
    "flows/clean_up.py:clean_up": "clean-up/free-disk-space",
    "flows/compare_pipelines.py:compare_pipelines": "compare-pipelines/two-versions",
    "flows/compare_shadow.py:compare_shadow": "compare-shadow/shadow-nightly",
    "flows/watch_champion.py:watch_champion": "watch-champion/watch-nightly",
    "flows/learn_from_feedback.py:learn_from_feedback": "learn-from-feedback/take-in-feedback",
}

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())[
    "deployments"
]


def load(entrypoint: str) -> Flow[..., Any]:
    return load_flow_from_entrypoint(str(REPOSITORY / entrypoint), use_placeholder_flow=False)


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_every_flow_of_the_contract_can_be_run_by_a_name_that_says_what_it_does(
    entrypoint: str,
) -> None:
    flow, _, name = ENTRYPOINTS[entrypoint].partition("/")
    assert load(entrypoint).name == flow
    (found,) = [d for d in DEPLOYMENTS if d["name"] == name]
    assert found["entrypoint"] == entrypoint
    assert "triggers" not in found
    assert not any(schedule["active"] for schedule in found.get("schedules", ()))


def test_each_deployment_has_a_name_of_its_own() -> None:
    names = [deployment["name"] for deployment in DEPLOYMENTS]
    assert len(set(names)) == len(names)


def test_nothing_else_is_deployed_and_all_of_it_to_the_pool() -> None:
    assert {deployment["entrypoint"] for deployment in DEPLOYMENTS} == set(ENTRYPOINTS)
    assert {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS} == {"millstream"}


def test_schedules_carry_names_time_zones_and_parameters() -> None:
    schedules = {d["name"]: d["schedules"] for d in DEPLOYMENTS if "schedules" in d}
    active = {name for name, (schedule,) in schedules.items() if schedule["active"]}
    assert active == {"weekly-training", "nightly"}
    for (schedule,) in schedules.values():
        assert schedule.keys() - {"parameters"} == {"slug", "cron", "timezone", "active"}


def test_what_is_scheduled_never_runs_twice_at_a_time() -> None:
    for deployment in DEPLOYMENTS:
        if "schedules" in deployment:
            limit = deployment["concurrency_limit"]
            assert limit == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_the_form_describes_every_parameter_and_bounds_every_number(entrypoint: str) -> None:
    schema = parameter_schema(load(entrypoint))
    for name, field in schema.properties.items():
        assert field.get("description"), name
        kinds = [field, *field.get("anyOf", [])]
        if any(kind.get("type") in ("integer", "number") for kind in kinds):
            assert {"minimum", "exclusiveMinimum"} & field.keys(), name
        if name not in schema.required:
            assert "default" in field, name


@pytest.mark.parametrize(
    ("flow", "first", "last"),
    [
        (
            "train_classifier",
            "source text_column label_column label_names base_model",
            "steps header",
        ),
        (
            "score_shards",
            "inputs output_dir text_column label_column model_uri",
            "batch_tokens runner",
        ),
        (
            "end_to_end",
            "source text_column label_column inputs output_dir",
            "steps header",
        ),
    ],
)
def test_the_form_begins_with_what_one_needs_and_ends_with_what_experts_change(
    flow: str, first: str, last: str
) -> None:
    loaded = load(f"flows/{flow}.py:{flow}")
    places = {name: p["position"] for name, p in parameter_schema(loaded).properties.items()}
    shown = sorted(places, key=places.__getitem__)
    assert shown[:5] == first.split()
    expert, experts_last = last.split()
    assert shown[-1] == experts_last
    assert shown.index(expert) > 8
    # A command takes them in the order of the function.
    assert set(shown) == set(inspect.signature(loaded.fn).parameters)


@pytest.mark.parametrize(
    ("flow", "name", "most"),
    [
        ("score_shards", "batch_tokens", 65_536),
        ("score_shards", "shard_rows", 1_000_000),
        ("score_shards", "report_examples", 100),
        ("train_classifier", "epochs", 1_000),
        ("train_classifier", "batch_size", 4_096),
        ("train_classifier", "seed", 2**32 - 1),
        ("end_to_end", "epochs", 1_000),
        ("end_to_end", "batch_size", 4_096),
        ("end_to_end", "seed", 2**32 - 1),
        ("clean_up", "older_than_days", 36_500),
    ],
)
def test_the_form_refuses_numbers_that_would_cost_memory_or_days(
    flow: str, name: str, most: int
) -> None:
    schema = parameter_schema(load(f"flows/{flow}.py:{flow}"))
    assert schema.properties[name]["maximum"] == most


@pytest.mark.parametrize(
    ("entrypoint", "name", "choices"),
    [
        ("flows/score_shards.py:score_shards", "language_policy", ["score", "flag", "reject"]),
        (
            "flows/build_inference_pipeline.py:build_inference_pipeline",
            "promotion",
            ["if_better", "if_not_worse", "always", "never"],
        ),
        ("flows/train_classifier.py:train_classifier", "strategy", ["full", "freeze"]),
    ],
)
def test_the_form_lists_choices(entrypoint: str, name: str, choices: list[str]) -> None:
    assert parameter_schema(load(entrypoint)).properties[name]["enum"] == choices


def test_flows_and_only_flows_are_modules_with_a_command_line() -> None:
    named = {entrypoint.split(":")[0] for entrypoint in ENTRYPOINTS}
    others = {"flows/__init__.py", "flows/command_line.py"} | {
        f"flows/{name}.py"
        for name in (
            *("parameters", "project_defaults", "run_requests", "step_selection"),
            "comparison_requests",
            *("start_project", "relocate"),  # they orchestrate nothing
        )
    }
    assert {f"flows/{path.name}" for path in (REPOSITORY / "flows").glob("*.py")} == named | others
