"""`prefect.yaml` as Prefect reads it, but for what Prefect ignores: here that is refused.

The fields are those of Prefect's own models, of which those here leave nothing to chance:
`prefect/cli/deploy/_models.py`, 3.8.
"""

from typing import Any, Literal

from prefect.cli.deploy._models import RawScheduleConfig
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.workers.process import ProcessVariables
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Steps = list[dict[str, Any]] | dict[str, Any] | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Schedule(RawScheduleConfig):
    """When a deployment runs, and with which parameters; Prefect's own is as strict."""

    @model_validator(mode="after")
    def _means_a_time(self) -> "Schedule":
        zone: Any = {"timezone": self.timezone} if self.timezone else {}
        if self.cron:
            CronSchedule(cron=self.cron, **zone)
        elif self.interval:
            IntervalSchedule(interval=self.interval, **zone)
        elif self.rrule:
            RRuleSchedule(rrule=self.rrule, **zone)
        return self


class ConcurrencyLimit(_Strict):
    """How many runs of a deployment there may be, and what becomes of one more."""

    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    grace_period_seconds: int | None = None


class WorkPool(_Strict):
    """Where a deployment runs: a pool of processes."""

    name: str
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = {}

    @field_validator("job_variables")
    @classmethod
    def _are_known(cls, variables: dict[str, Any]) -> dict[str, Any]:
        known = sorted(ProcessVariables.model_fields)
        if unknown := sorted(variables.keys() - known):
            raise ValueError(f"unknown: {unknown}; expected some of {known}")
        return variables


class Deployment(_Strict):
    """A flow with parameters, schedules and triggers."""

    name: str
    entrypoint: str
    work_pool: WorkPool
    version: str | None = None
    version_type: str | None = None
    tags: list[str] = []
    description: str | None = None
    paused: bool | None = None
    parameters: dict[str, Any] = {}
    enforce_parameter_schema: bool | None = None
    schedules: list[Schedule] = []
    triggers: list[dict[str, Any]] = []
    concurrency_limit: int | ConcurrencyLimit | None = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None


class ProjectFile(_Strict):
    """The whole file."""

    prefect_version: str | None = Field(default=None, alias="prefect-version")
    name: str | None = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None
    deployments: list[Deployment]
