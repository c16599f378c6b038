"""Decide whether a scoring run succeeded: failed shards, rejected rows, MLflow record, lock."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from tasks.common.errors import (
    DeliveryError,
    MillstreamError,
    OutputInUseError,
    ShardsFailedError,
    StoppedError,
    SupersededError,
    TrackingError,
)
from tasks.common.task_errors import describe_error
from tasks.scoring.types import FailureLimits

# What ends the error of a shard that failed for no reason of its own, as by a lost worker.
SCORED_NEXT = "the next run scores it"

_REMEDY = (
    "mend the file, or move it away, and run the same command again; until then each run that "
    "finds it fails, also that of each night"
)


def raise_together(*checks: Callable[[], None]) -> None:
    """Run every check, and raise the first error; its line goes on with the others.

    Of several with one exit code, the first tells: a database that is away fails more than one.

    Raises:
        MillstreamError: If a check does.
        StoppedError: If the run is cancelled meanwhile.
    """
    errors: dict[int, MillstreamError] = {}
    for check in checks:
        try:
            check()
        except StoppedError:
            raise
        except MillstreamError as error:
            errors.setdefault(error.exit_code, error)
    if errors:
        first = next(iter(errors.values()))
        if len(errors) == 1:
            raise first
        raise type(first)("; ".join(map(describe_error, errors.values()))) from first


def raise_if_failed(summary: Mapping[str, Any], limits: FailureLimits) -> None:
    """Fail the run if more went wrong than was allowed; what was published stays.

    Args:
        summary: What `tasks.scoring.summary.summarise_outcomes` returned.
        limits: What may go wrong.

    Raises:
        ShardsFailedError: If so.
    """
    if failure := failure_of(summary, limits):
        raise ShardsFailedError(failure)


def failure_of(summary: Mapping[str, Any], limits: FailureLimits) -> str:
    """Return why the run is a failure, in one line; empty if it is none."""
    failures, rows, rejected = (summary[name] for name in ("failures", "rows_in", "rejected"))
    exceeded = limits.exceeded(failed=len(failures), rows=rows, rejected=rejected)
    if exceeded == "failed":
        shard, error = next(iter(failures.items()))
        others = "; the others are published" if len(failures) < summary["shards_total"] else ""
        remedy = "run the same command again" if error.endswith(SCORED_NEXT) else _REMEDY
        return (
            f"{len(failures)} of {summary['shards_total']} shards failed; "
            f"the first, {shard}: {error}{others}; {remedy}"
        )
    if exceeded == "rejected":
        reason = next(iter(summary["rejected_because"]))
        return (
            f"{rejected} of {rows} rows were rejected, most of them for {reason!r}; "
            f"expected at most {limits.max_rejected_fraction:.2%}"
        )
    return ""


def raise_if_undelivered(summary: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Fail the run if a shard could not be delivered; what was published stays.

    Args:
        summary: What `tasks.scoring.summary.summarise_outcomes` returned.
        reasons: What was known before the first shard, by the name of the table.

    Raises:
        DeliveryError: If so.
    """
    for target, found in summary.get("delivered", {}).items():
        if failures := found["failures"]:
            shard, error = next(iter(failures.items()))
            raise DeliveryError(
                f"{target}: {len(failures)} of {summary['shards_done']} shards were not delivered; "
                f"the first, {shard}: {reasons.get(target, error)}; mend that, if it does not pass "
                "by itself, and repeat the run, which delivers what is missing"
            )


def raise_if_would_fail(report: dict[str, Any], limits: FailureLimits) -> None:
    """Fail a dry run if the run that it stands for would fail, as far as it can be foreseen.

    Args:
        report: What `tasks.scoring.dry_run.estimate_run` returned.
        limits: What may go wrong.

    Raises:
        ShardsFailedError: If so.
    """
    unreadable, failed = report["unreadable_files"], report["shards_that_cannot_be_read"]
    rows, rejected = report["rows"], report["rows_that_cannot_be_scored"]
    exceeded = limits.exceeded(failed=failed, rows=rows, rejected=rejected)
    if exceeded == "failed":
        first = next(iter(unreadable.values()))
        raise ShardsFailedError(
            f"{len(unreadable)} files cannot be read; the first: {first}; "
            f"{failed} of {report['shards_total']} shards would fail"
        )
    if exceeded == "rejected":
        raise ShardsFailedError(
            f"{rejected} of {rows} rows cannot be scored; "
            f"expected at most {limits.max_rejected_fraction:.2%}"
        )


def raise_if_unrecorded(logged: State[Any]) -> None:
    """Fail the run if MLflow did not take its record.

    Args:
        logged: The last state of the task that logs it.

    Raises:
        TrackingError: If that failed.
    """
    if logged.is_completed():
        return
    error = logged.result(raise_on_failure=False)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise TrackingError(
        f"everything is published, but MLflow has no record of this run ({reason}); "
        "run the same command again to make one"
    )


def cancelled_state(error: OutputInUseError | SupersededError) -> dict[str, Any]:
    """Return what ends a flow as cancelled, because another run does its work.

    It is a state, which Prefect keeps for itself, whatever its type says here: a caller of the
    flow gets the error, and the automation that reports failures does not fire.
    """
    return cast("dict[str, Any]", Cancelled(message=str(error), data=error))
