"""`make check-config` refuses what Prefect would take without a word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy import _models as prefect_yaml

from deployments.check_config import PREFECT_FILE, check_prefect_file, find_problems
from deployments.prefect_file import schema
from tasks.common.errors import ParameterError

Content = dict[str, Any]


def scoring(content: Content) -> Content:
    """The nightly deployment."""
    found: Content = next(d for d in content["deployments"] if d["name"] == "nightly")
    return found


def schedule(content: Content) -> Content:
    """When the nightly deployment runs."""
    found: Content = scoring(content)["schedules"][0]
    return found


def trigger(content: Content) -> Content:
    """What starts the scoring with a new champion."""
    deployment = next(d for d in content["deployments"] if d["name"] == "rescore")
    found: Content = deployment["triggers"][0]
    return found


def every(content: Content, interval: object, **fields: object) -> None:
    """Give the nightly deployment an interval in place of its cron line."""
    del schedule(content)["cron"]
    schedule(content).update(interval=interval, **fields)


@pytest.fixture
def problems_with(tmp_path: Path) -> Callable[[Callable[[Content], object]], list[str]]:
    """What is found wrong with our own file after a change."""

    def changed(change: Callable[[Content], object]) -> list[str]:
        content = yaml.safe_load(PREFECT_FILE.read_text())
        change(content)
        path = tmp_path / "prefect.yaml"
        path.write_text(yaml.safe_dump(content))
        return list(find_problems(path))

    return changed


def test_our_own_is_right() -> None:
    check_prefect_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(deployment=[]), "deployment: Extra inputs"),
        (lambda c: scoring(c).update(schedulle="0 1 * * *"), "schedulle: Extra inputs"),
        (lambda c: scoring(c).update(retries=3), "retries: Extra inputs"),
        (lambda c: scoring(c)["schedules"][0].update(timezon="UTC"), "timezon: Extra inputs"),
        (lambda c: scoring(c)["schedules"][0].update(cron="61 1 * * *"), "61 1"),
        (lambda c: scoring(c)["schedules"][0].update(timezone="Mars/North"), "Mars/North"),
        (lambda c: scoring(c)["schedules"][0].pop("cron"), "Exactly one of"),
        (lambda c: scoring(c)["work_pool"].update(job_variable={}), "job_variable: Extra"),
        (
            lambda c: scoring(c)["work_pool"].update(job_variables={"imagee": "x"}),
            "job_variables.imagee: Extra inputs",
        ),
        (
            lambda c: scoring(c)["concurrency_limit"].update(collision_strategy="DROP"),
            "collision_strategy",
        ),
        (lambda c: scoring(c)["concurrency_limit"].update(limits=1), "limits: Extra inputs"),
        (lambda c: scoring(c)["parameters"].update(shard_row=10), "shard_row: score-shards has no"),
        (lambda c: scoring(c)["parameters"].update(shard_rows=0), "shard_rows: Input should be"),
        (
            lambda c: scoring(c)["schedules"][0]["parameters"].update(language_policy="drop"),
            "language_policy: Input should be 'score', 'flag' or 'reject'",
        ),
        (
            lambda c: scoring(c)["parameters"].pop("output_dir"),
            "output_dir: missing; a schedule cannot ask for it",
        ),
        (
            lambda c: scoring(c)["parameters"].update(output_dir=""),
            "output_dir: String should have at least 1 character",
        ),
        (
            lambda c: scoring(c)["parameters"].update(inputs=["{{ $NO_SUCH_VARIABLE }}/in"]),
            "variable NO_SUCH_VARIABLE is not set",
        ),
        # Prefect leaves these out, or what they are a part of.
        (
            lambda c: scoring(c)["parameters"].update(output_dir="{{ MILLSTREAM_HOME }}/scored"),
            "deployments.1.parameters.output_dir: '{{ MILLSTREAM_HOME }}/scored'; expected",
        ),
        (
            lambda c: scoring(c)["parameters"].update(inputs=["{{ prefect.variables.inbox }}"]),
            "parameters.inputs.0: '{{ prefect.variables.inbox }}'; expected {{ $VARIABLE }}",
        ),
        (
            lambda c: scoring(c)["parameters"].update(shard_rows="{{ event.payload.rows }}"),
            "parameters.shard_rows: '{{ event.payload.rows }}'; expected {{ $VARIABLE }}",
        ),
        (
            lambda c: trigger(c).update(enabled="{{ on }}"),
            "triggers.0.enabled: '{{ on }}'; expected {{ $VARIABLE }}",
        ),
        (
            lambda c: trigger(c)["parameters"].update(inputs=["{{ event.resource.id }}"]),
            "parameters.inputs.0: '{{ event.resource.id }}'; Prefect drops it from a list",
        ),
        # A schedule that means another time.
        (lambda c: schedule(c).update(cron=""), "cron: String should have at least 1"),
        (lambda c: schedule(c).update(cron="0 0 1 * * *"), "expected a cron line of five fields"),
        (lambda c: schedule(c).update(cron="0 0 31 2 *"), "cron line that does"),
        (lambda c: schedule(c).update(timezone=""), "timezone: String should have at least 1"),
        (lambda c: every(c, 0), "interval: Input should be greater than 0"),
        (
            lambda c: schedule(c).update(anchor_date="2026-01-01T00:00:00Z"),
            "anchor_date: expected an interval",
        ),
        (lambda c: every(c, 60, anchor_date="some day"), "anchor_date: Unable to parse"),
        (lambda c: every(c, 60, day_or=False), "day_or: expected a cron line"),
        (lambda c: schedule(c).pop("active"), "active: Field required"),
        (lambda c: schedule(c).update(active="flase"), "active: Input should be a valid boolean"),
        (
            lambda c: scoring(c)["schedules"].append(schedule(c) | {"cron": "0 2 * * *"}),
            "schedules: two have the slug 'nightly'",
        ),
        # Numbers, names and types.
        (lambda c: scoring(c).update(concurrency_limit=0), "greater than or equal to 1, got 0"),
        (lambda c: scoring(c).update(concurrency_limit=-3), "greater than or equal to 1, got -3"),
        (
            lambda c: scoring(c)["concurrency_limit"].update(grace_period_seconds=1),
            "grace_period_seconds: Input should be greater than or equal to 60",
        ),
        (lambda c: scoring(c).update(name="a/b"), "name: String should match pattern"),
        (
            lambda c: scoring(c)["work_pool"].update(name="millstreem"),
            "work_pool.name: expected 'millstream', which make up makes",
        ),
        (
            lambda c: scoring(c)["work_pool"].update(job_variables={"env": "x"}),
            "job_variables.env: Input should be a valid dictionary",
        ),
        (
            lambda c: scoring(c)["work_pool"].update(job_variables={"stream_output": "maybe"}),
            "job_variables.stream_output: Input should be a valid boolean",
        ),
        (lambda c: c.update(deployments=[]), "deployments: List should have at least 1 item"),
        # Triggers.
        (
            lambda c: trigger(c).update(job_variables={"imagee": "x"}),
            "triggers: job_variables: imagee: Extra inputs",
        ),
        (
            lambda c: scoring(c).update(
                triggers=[
                    {
                        "type": "compound",
                        "require": "any",
                        "triggers": [{"type": "event", "expects": ["x"]}],
                    }
                ]
            ),
            "triggers: triggers.0.expects: unknown",
        ),
        (
            lambda c: trigger(c).update(expect=["millstream.pipeline.promotet"]),
            "triggers: expect: 'millstream.pipeline.promotet'; expected one of",
        ),
        (
            lambda c: trigger(c)["match"].update({"prefect.resource.idd": "x"}),
            "triggers: match: 'prefect.resource.idd'; expected one of",
        ),
        (
            lambda c: trigger(c)["parameters"].update(model_uri="{{ event.resource[ }}"),
            "triggers: parameters.model_uri: '{{ event.resource[ }}'",
        ),
        (
            lambda c: trigger(c)["parameters"].update(model_uri="{{ evnt.id }}"),
            "parameters.model_uri: '{{ evnt.id }}'; 'evnt' is undefined",
        ),
        (
            lambda c: trigger(c)["parameters"].update(
                model_uri="models:/{{ event.resource['millstream.model-url'] }}"
            ),
            "has no attribute 'millstream.model-url'",
        ),
        (
            lambda c: trigger(c)["parameters"].update(model_uri="{{ event.id }}"),
            "parameters.model_uri: '{{ event.id }}'; Object of type UUID is not JSON serializable",
        ),
        (
            lambda c: trigger(c)["parameters"].update(shard_rows="{{ 0 }}"),
            "shard_rows: Input should be greater than or equal to 1",
        ),
        # What the flow would refuse as it begins.
        (
            lambda c: scoring(c)["parameters"].update(language_policy="reject"),
            "languages: none given; language_policy reject expects at least one",
        ),
        (
            lambda c: scoring(c)["parameters"].update(only_failed=True, resume=False),
            "only_failed: goes on from the run before; expected resume as well",
        ),
        (lambda c: scoring(c)["parameters"].update(inputs=[]), "inputs: none given"),
        (
            lambda c: schedule(c)["parameters"].update(model_uri="no such thing!"),
            "model_uri: 'no such thing!'; expected a number, an alias",
        ),
        (
            lambda c: c["deployments"][0]["parameters"].update(steps=["fine_tuning_model"]),
            "data_files: missing; the step fine_tuning_model without download_data",
        ),
        (
            lambda c: c["deployments"][0]["parameters"].update(engine="torch", precision="int8"),
            "precision: torch has no int8 here",
        ),
        (
            lambda c: scoring(c).update(entrypoint="flows/score_shards.py:score"),
            "entrypoint 'flows/score_shards.py:score': does not load",
        ),
        (
            lambda c: scoring(c).update(entrypoint="flows/nothing.py:score_shards"),
            "entrypoint 'flows/nothing.py:score_shards': does not load",
        ),
        (
            lambda c: scoring(c).update(triggers=[{"expect": ["x"], "expects": ["y"]}]),
            "triggers: expects: unknown",
        ),
        (
            lambda c: scoring(c).update(
                triggers=[{"expect": ["x"], "parameters": {"modle_uri": "{{ event.id }}"}}]
            ),
            "modle_uri: score-shards has no such parameter",
        ),
        (
            lambda c: c["deployments"].append(scoring(c)),
            "nightly: flows/score_shards.py:score_shards has two deployments of this name",
        ),
    ],
)
def test_what_prefect_would_ignore_is_refused_by_name(
    problems_with: Callable[[Callable[[Content], object]], list[str]],
    change: Callable[[Content], object],
    words: str,
) -> None:
    found = problems_with(change)
    assert len(found) >= 1
    assert any(words in problem for problem in found), found
    assert all("\n" not in problem for problem in found)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    line = '        cron: "{{ $PROJECT_NIGHTLY }}"\n'
    path.write_text(PREFECT_FILE.read_text().replace(line, line * 2))
    (problem,) = find_problems(path)
    assert "the key 'cron' is there twice" in problem


def test_what_may_be_a_secret_is_not_shown(
    problems_with: Callable[[Callable[[Content], object]], list[str]],
) -> None:
    found = problems_with(
        lambda c: scoring(c)["work_pool"].update(job_variables={"env": {"TOKEN": 1234}})
    )
    assert any("job_variables.env.TOKEN: Input should be" in problem for problem in found)
    assert not any("1234" in problem for problem in found)


def test_what_a_form_asks_for_later_is_not_missed(
    problems_with: Callable[[Callable[[Content], object]], list[str]],
) -> None:
    def change(content: Content) -> None:
        by_hand = next(d for d in content["deployments"] if d["name"] == "score-files")
        by_hand["parameters"] = {"language_policy": "flag"}

    assert problems_with(change) == []


def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text("deployments: [")
    with pytest.raises(ParameterError, match="no YAML") as caught:
        check_prefect_file(path)
    assert "\n" not in str(caught.value)


def test_each_field_that_is_taken_is_one_that_prefect_reads() -> None:
    for ours, prefects in (
        (schema.PrefectFile, prefect_yaml.PrefectYamlModel),
        (schema.Deployment, prefect_yaml.DeploymentConfig),
        (schema.WorkPool, prefect_yaml.WorkPoolConfig),
        (schema.ConcurrencyLimit, prefect_yaml.ConcurrencyLimitSpec),
    ):
        assert ours.model_fields.keys() <= prefects.model_fields.keys()
