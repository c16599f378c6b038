"""`make check-config` refuses what Prefect would take without a word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy import _models as prefect_yaml

from deployments import project_file
from deployments.check_config import PROJECT_FILE, check, problems
from tasks.errors import ParameterError

Content = dict[str, Any]


def scoring(content: Content) -> Content:
    """The nightly deployment."""
    found: Content = next(d for d in content["deployments"] if d["name"] == "nightly")
    return found


@pytest.fixture
def problems_with(tmp_path: Path) -> Callable[[Callable[[Content], object]], list[str]]:
    """What is found wrong with our own file after a change."""

    def changed(change: Callable[[Content], object]) -> list[str]:
        content = yaml.safe_load(PROJECT_FILE.read_text())
        change(content)
        path = tmp_path / "prefect.yaml"
        path.write_text(yaml.safe_dump(content))
        return list(problems(path))

    return changed


def test_our_own_is_right() -> None:
    check()


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
            "unknown: ['imagee']",
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
            lambda c: scoring(c)["parameters"].update(inputs=["{{ $NO_SUCH_VARIABLE }}/in"]),
            "variable NO_SUCH_VARIABLE is not set",
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


def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text("deployments: [")
    with pytest.raises(ParameterError, match="no YAML") as caught:
        check(path)
    assert "\n" not in str(caught.value)


def test_each_field_that_is_taken_is_one_that_prefect_reads() -> None:
    for ours, prefects in (
        (project_file.ProjectFile, prefect_yaml.PrefectYamlModel),
        (project_file.Deployment, prefect_yaml.DeploymentConfig),
        (project_file.WorkPool, prefect_yaml.WorkPoolConfig),
        (project_file.ConcurrencyLimit, prefect_yaml.ConcurrencyLimitSpec),
    ):
        assert ours.model_fields.keys() <= prefects.model_fields.keys()
