"""Errors that are not ours: what is said of them."""

import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow, task
from prefect.flow_engine import run_flow
from prefect.logging import get_logger

from pyfunc.errors import ArtifactError
from tasks.common import task_errors
from tasks.common.errors import (
    DataError,
    DeliveryError,
    MillstreamError,
    ModelError,
    TransientDeliveryError,
    UnexpectedError,
)
from tasks.common.task_errors import (
    describe_error,
    is_retryable,
    redacted_delivery_errors,
    redacted_errors,
    reporting_failures,
)

SECRET = "the-text-of-a-row"


def test_what_others_say_is_left_out() -> None:
    with pytest.raises(UnexpectedError) as raised, redacted_errors("a shard"):
        int(SECRET)
    assert str(raised.value).startswith("a shard: ValueError, line ")
    assert str(raised.value).endswith(" of tasks/common/task_errors.py; expected no error")
    shown = "".join(traceback.format_exception(raised.value))
    assert "int(SECRET)" in shown
    assert SECRET not in shown


def test_our_own_errors_and_the_systems_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^ours$"), redacted_errors("a shard"):
        raise DataError("ours")
    with pytest.raises(FileNotFoundError), redacted_errors("a shard"):
        (tmp_path / "none").read_text()


def test_what_is_not_expected_is_tried_again() -> None:
    again = (UnexpectedError, ValueError, TransientDeliveryError)
    lasting = (DataError, ModelError, ArtifactError, DeliveryError)
    states: Any = [SimpleNamespace(data=error("words")) for error in (*again, *lasting)]
    run: Any = None
    assert [is_retryable(run, run, state) for state in states] == [True] * 3 + [False] * 4


def test_a_table_that_stays_away_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(task_errors, "time", SimpleNamespace(monotonic=lambda: now))

    def is_retried(target: str) -> bool:
        error = TransientDeliveryError("away")
        with pytest.raises(TransientDeliveryError), redacted_delivery_errors(target, "a shard"):
            raise error
        state: Any = SimpleNamespace(data=error)
        unused: Any = None
        return is_retryable(unused, unused, state)

    assert is_retried("crm.predictions")
    now = 85.0
    assert is_retried("crm.predictions")
    now = 86.0
    assert not is_retried("crm.predictions")
    assert is_retried("crm.rejects")
    with redacted_delivery_errors("crm.predictions", "a shard"):
        pass
    assert is_retried("crm.predictions")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataError("rows.csv:\n damaged"), "rows.csv: damaged"),
        (MillstreamError("stopped"), "stopped"),
        (ValueError(SECRET), "ValueError"),
        (OSError(28, "No space left on device", SECRET), "OSError: No space left on device"),
        (OSError(SECRET), "OSError"),
        (KeyError(SECRET), "KeyError"),
    ],
)
def test_an_error_in_words_quotes_no_row(error: Exception, words: str) -> None:
    assert describe_error(error) == words


@task
def fail(error: Exception) -> None:
    raise error


@reporting_failures
@flow(name="failing")
def failing(known: bool) -> None:
    fail(DataError("rows.csv: no column") if known else ValueError("a bug"))


@pytest.mark.usefixtures("prefect_harness")
def test_the_log_of_a_run_has_our_errors_in_a_line_and_others_with_their_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for known in (True, False):
        caplog.clear()
        with pytest.raises((DataError, ValueError)):
            # As the process of a deployment's run does.
            run_flow(
                failing, parameters={"known": known}, error_logger=get_logger("prefect.flow_runs")
            )
        reason = "rows.csv: no column" if known else "a bug"
        assert f"Finished in state Failed('{reason}')" in caplog.text or not known
        assert reason in caplog.text
        assert ("Traceback" in caplog.text) is not known
        assert ("unexpected" in caplog.text) is not known
