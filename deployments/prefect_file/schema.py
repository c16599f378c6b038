"""Pydantic schema of `prefect.yaml` that rejects what Prefect would ignore.

The fields are those of Prefect's own models in `prefect/cli/deploy/_models.py`, 3.8.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal

from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
from prefect.cli.deploy._models import RawScheduleConfig
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.types.names import WITHOUT_BANNED_CHARACTERS
from prefect.workers.process import ProcessVariables
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from deployments.services.definitions import POOL

Name = Annotated[str, Field(pattern=WITHOUT_BANNED_CHARACTERS)]
NotEmpty = Annotated[str, Field(min_length=1)]
Steps = list[dict[str, Any]] | dict[str, Any] | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Schedule(RawScheduleConfig):
    """A schedule and its parameters; Prefect's own model rejects unknown keys."""

    cron: NotEmpty | None = None
    interval: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    rrule: NotEmpty | None = None
    timezone: NotEmpty | None = None
    # Required: without it, Prefect leaves a schedule that was switched off as it is.
    active: StrictBool
    day_or: StrictBool | None = None

    @model_validator(mode="after")
    def _check_time(self) -> "Schedule":
        given: Any = self.model_dump(include={"timezone", "day_or", "anchor_date"})
        given = {name: value for name, value in given.items() if value is not None}
        # Prefect ignores the fields of another kind of schedule.
        if "day_or" in given and not self.cron:
            raise ValueError("day_or: expected a cron line beside it")
        if "anchor_date" in given and not self.interval:
            raise ValueError("anchor_date: expected an interval beside it")
        if self.cron:
            # Prefect reads a sixth field as seconds, and as the last one, not the first.
            if not self.cron.startswith("@") and len(self.cron.split()) != len("mhdMw"):
                raise ValueError("expected a cron line of five fields")
            CronSchedule(cron=self.cron, **given)
            _check_cron(self.cron)
        elif self.interval:
            IntervalSchedule(interval=self.interval, **given)
        elif self.rrule:
            RRuleSchedule(rrule=self.rrule, **given)
        return self


def _check_cron(cron: str) -> None:
    try:
        croniter(cron).get_next()
    except CroniterBadDateError as error:
        raise ValueError(f"{cron!r} never comes; expected a cron line that does") from error


class ConcurrencyLimit(_Strict):
    """How many runs of a deployment may be active, and what happens to another one."""

    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    grace_period_seconds: Annotated[int, Field(ge=60, le=86_400)] | None = None


class JobVariables(ProcessVariables):
    """Settings of a run's process."""

    model_config = ConfigDict(extra="forbid")


class WorkPool(_Strict):
    """The work pool of a deployment: the one that `make up` creates."""

    name: str
    work_queue_name: str | None = None
    job_variables: JobVariables = JobVariables()

    @field_validator("name")
    @classmethod
    def _check_pool(cls, name: str) -> str:
        if name != POOL:
            raise ValueError(f"expected {POOL!r}, which make up makes")
        return name


class Deployment(_Strict):
    """A flow with parameters, schedules and triggers."""

    name: Name
    entrypoint: str
    work_pool: WorkPool
    version: str | None = None
    version_type: str | None = None
    tags: list[str] = []
    description: str | None = None
    paused: StrictBool | None = None
    parameters: dict[str, Any] = {}
    enforce_parameter_schema: StrictBool | None = None
    schedules: list[Schedule] = []
    triggers: list[dict[str, Any]] = []
    concurrency_limit: Annotated[int, Field(strict=True, ge=1)] | ConcurrencyLimit | None = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None

    @field_validator("schedules")
    @classmethod
    def _check_unique_slugs(cls, schedules: list[Schedule]) -> list[Schedule]:
        # Prefect keeps the last one of a name.
        for slug, times in Counter(schedule.slug for schedule in schedules).items():
            if slug and times > 1:
                raise ValueError(f"two have the slug {slug!r}")
        return schedules


class PrefectFile(_Strict):
    """The whole file."""

    prefect_version: str | None = Field(default=None, alias="prefect-version")
    name: str | None = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None
    deployments: list[Deployment] = Field(min_length=1)


def validation_problems(error: ValidationError) -> Iterator[str]:
    """Yield each error of a pydantic validation in one line."""
    for found in error.errors():
        path = ".".join(map(str, found["loc"]))
        # Our own messages name the value; a variable of a process may be a secret.
        quoted = found["type"] != "value_error" and "env" not in found["loc"]
        message = found["msg"].removeprefix("Value error, ")
        yield f"{path}: " * bool(path) + message + f", got {found['input']!r}" * quoted
