"""Prefect automations: crash dead runs, cancel long ones, notify of failures and of going back.

The re-scoring after a promotion is a trigger of its deployment, in `prefect.yaml`.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings.context import get_current_settings
from prefect.types import SecretDict

from tasks.common.settings import Settings
from tasks.promotion.types import TAKEN_BACK

NOTIFICATION_BLOCK = "millstream-failures"

_PENDING = {"Pending", "Submitting", "InfrastructurePending"}
_FAILED = {"Failed", "TimedOut", "Crashed"}
_ENDED = {"Completed", "Cancelled", *_FAILED}
_WAITING = {"Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Paused", "Suspended"}
_FLOW_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def _heartbeat_timeout() -> timedelta:
    """Return five heartbeat intervals, so that four heartbeats may be late or lost.

    Heartbeats are lost while Prefect's server restarts, and wait up to a minute for a locked
    SQLite. A slot that is free a minute later is better than a live run marked as crashed.

    `tasks.common.environment` sets the interval, PREFECT_FLOWS_HEARTBEAT_FREQUENCY.
    """
    return timedelta(seconds=5 * (get_current_settings().flows.heartbeat_frequency or 30))


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for the next sign of life of a run.

    Attributes:
        heartbeat: From one heartbeat to the next.
        start: From Pending to Running, without heartbeats while Prefect and the flow are loaded.
        cancellation: From Cancelling to Cancelled; Prefect kills a process after 30 s.
    """

    heartbeat: timedelta = field(default_factory=_heartbeat_timeout)
    start: timedelta = timedelta(seconds=180)
    cancellation: timedelta = timedelta(seconds=90)


DEFAULT_TIMEOUTS = Timeouts()


def create_automations(
    client: SyncPrefectClient, settings: Settings, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> None:
    """Create the automations, or update those that differ.

    An updated automation forgets the runs that it was waiting for.

    Args:
        client: Client of the server.
        settings: The longest run, and the notification URL, if any.
        timeouts: When a run counts as dead.
    """
    automations = [
        _crash_runs(
            "whose process died",
            _absence_trigger(
                {"Running", "Retrying", "heartbeat"}, {"heartbeat"}, timeouts.heartbeat
            ),
            f"no heartbeat for {timeouts.heartbeat.seconds} s: its process died",
        ),
        _crash_runs(
            "that never start",
            # A restarted server may see heartbeats before Running, which waits for a Pending that
            # the old server saw.
            _absence_trigger(_PENDING, {"Running", "heartbeat"}, timeouts.start),
            f"not running after {timeouts.start.seconds} s: its process died",
        ),
        _finish_cancelling(timeouts.cancellation),
        _cancel_long_runs(timedelta(hours=settings.longest_run_hours)),
    ]
    if (block_id := _notification_block(client, settings)) is not None:
        automations += [_notify_of_failures(block_id), _notify_of_taking_back(block_id)]
    for automation in automations:
        registered = client.read_automations_by_name(automation.name)
        if not registered:
            client.create_automation(automation)
        elif _comparable_fields(registered[0]) != _comparable_fields(automation):
            client.update_automation(registered[0].id, automation)


def _crash_runs(runs: str, trigger: EventTrigger, message: str) -> AutomationCore:
    state = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)
    return AutomationCore(
        name=f"millstream: crash runs {runs}",
        description="Its slot is free again, and a new run goes on from what is published.",
        trigger=trigger,
        actions=[state],
    )


def _finish_cancelling(after: timedelta) -> AutomationCore:
    # Prefect accepts no other state after Cancelling.
    state = ChangeFlowRunState(
        state=StateType.CANCELLED,
        name="Cancelled",
        message=f"not cancelled by its worker after {after.seconds} s",
    )
    return AutomationCore(
        name="millstream: finish the cancelling of runs whose worker is gone",
        description="Its slot is free again, and a new run goes on from what is published.",
        trigger=_absence_trigger({"Cancelling"}, set(), after),
        actions=[state],
    )


def _cancel_long_runs(after: timedelta) -> AutomationCore:
    trigger = _absence_trigger({"Running"}, set(), after)
    # A subflow has no process of its own to cancel.
    deployed = ResourceSpecification({"prefect.resource.role": "deployment"})
    return AutomationCore(
        name="millstream: cancel runs that take too long",
        description="Set by MILLSTREAM_LONGEST_RUN_HOURS.",
        trigger=trigger.model_copy(update={"match_related": deployed}),
        # CancelFlowRun() does nothing in Prefect 3.8.8.
        actions=[ChangeFlowRunState(state=StateType.CANCELLING, name="Cancelling")],
    )


def _notify_of_failures(block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name="millstream: notify of failed scheduled runs",
        description=f"Calls the notification block {NOTIFICATION_BLOCK}.",
        trigger=EventTrigger(
            expect=_events(_FAILED),
            match=_FLOW_RUNS,
            # The tag marks runs of the scheduler; an automation starts runs for events.
            match_related=ResourceSpecification(
                {"prefect.resource.id": ["prefect.tag.auto-scheduled", "prefect.automation.*"]}
            ),
            # Prefect 3.8.8 may evaluate an event that came too early several times.
            for_each={"prefect.resource.id"},
            within=timedelta(minutes=1),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(
                block_document_id=block_id,
                subject="{{ flow.name }}: {{ flow_run.name }} {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run | ui_url }}",
            )
        ],
    )


def _notify_of_taking_back(block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name="millstream: notify of a champion that was taken back",
        description=f"Calls the notification block {NOTIFICATION_BLOCK}.",
        trigger=EventTrigger(
            expect={TAKEN_BACK},
            match=ResourceSpecification({"prefect.resource.id": "millstream.model.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(
                block_document_id=block_id,
                subject="{{ event.resource['millstream.model-uri'] }} is champion again",
                body="{{ event.resource['millstream.reason'] }}",
            )
        ],
    )


def _notification_block(client: SyncPrefectClient, settings: Settings) -> UUID | None:
    """Return the notification block: the user's, of another type, or else a webhook."""
    kind = CustomWebhookNotificationBlock.get_block_type_slug()
    blocks = client.read_block_documents(limit=200)
    found = next((block for block in blocks if block.name == NOTIFICATION_BLOCK), None)
    is_ours = found is None or (found.block_type is not None and found.block_type.slug == kind)
    if settings.notification_url is None or not is_ours:
        return found.id if found else None
    webhook = CustomWebhookNotificationBlock(
        name=NOTIFICATION_BLOCK,
        # The UI hides secrets, and an address may hold a token.
        url="{{address}}",
        secrets=SecretDict({"address": settings.notification_url.get_secret_value()}),
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    return cast("UUID", webhook.save(NOTIFICATION_BLOCK, overwrite=True))


def _absence_trigger(after: set[str], expect: set[str], within: timedelta) -> EventTrigger:
    """Fire if no expected event of a run follows in time, and it neither ends nor waits."""
    return EventTrigger(
        after=_events(after),
        expect=_events(expect | _ENDED | _WAITING),
        match=_FLOW_RUNS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _events(names: set[str]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


def _comparable_fields(automation: AutomationCore) -> dict[str, Any]:
    # Without `enabled`: an automation that was switched off stays off.
    fields = set(AutomationCore.model_fields) - {"owner_resource", "enabled"}
    # Not in JSON, where the order of sets varies.
    return automation.model_dump(mode="python", include=fields)
