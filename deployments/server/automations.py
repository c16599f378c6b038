"""What Prefect's server does by itself: end runs that died or hang, and tell of failures.

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

NOTIFICATION_BLOCK = "millstream-failures"

_PENDING = {"Pending", "Submitting", "InfrastructurePending"}
_FAILED = {"Failed", "TimedOut", "Crashed"}
_ENDED = {"Completed", "Cancelled", *_FAILED}
_WAITS = {"Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Paused", "Suspended"}
_FLOW_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def _heartbeat_timeout() -> timedelta:
    """Return how long a live run may be silent: four heartbeats may come late, or be lost.

    Those are lost that come while Prefect's server is started again, and one waits for up to a
    minute when something else keeps its SQLite. Better a slot that is free a minute later than a
    run that is crashed though it lives.

    `tasks.common.environment` sets its variable, PREFECT_FLOWS_HEARTBEAT_FREQUENCY.
    """
    return timedelta(seconds=5 * (get_current_settings().flows.heartbeat_frequency or 30))


@dataclass(frozen=True)
class Timeouts:
    """How long a run may take to show that it lives.

    Attributes:
        heartbeat: From one heartbeat to the next.
        start: From Pending to Running; the process loads Prefect and the flow, and sends none.
        cancellation: From Cancelling to Cancelled; Prefect kills a process after 30 s.
    """

    heartbeat: timedelta = field(default_factory=_heartbeat_timeout)
    start: timedelta = timedelta(seconds=180)
    cancellation: timedelta = timedelta(seconds=90)


DEFAULT_TIMEOUTS = Timeouts()


def create_automations(
    client: SyncPrefectClient, settings: Settings, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> None:
    """Make the automations; one that is there is changed only if it differs.

    Changed, it does not know of the runs that it waited for before.

    Args:
        client: Of the server.
        settings: How long a run may take, and where failures are reported; without that, no one
            is notified.
        timeouts: How soon a run counts as dead.
    """
    wanted = [
        _crash(
            "whose process died",
            _unless_followed(
                {"Running", "Retrying", "heartbeat"}, {"heartbeat"}, timeouts.heartbeat
            ),
            f"no heartbeat for {timeouts.heartbeat.seconds} s: its process died",
        ),
        _crash(
            "that never start",
            # A server that started meanwhile may see the heartbeats before Running, which it has
            # wait for the Pending that the one before it saw.
            _unless_followed(_PENDING, {"Running", "heartbeat"}, timeouts.start),
            f"not running after {timeouts.start.seconds} s: its process died",
        ),
        _finish_cancelling(timeouts.cancellation),
        _cancel_runs_that_hang(timedelta(hours=settings.longest_run_hours)),
    ]
    if (block_id := _notification_block(client, settings)) is not None:
        wanted.append(_notify_of_failures(block_id))
    for automation in wanted:
        earlier = client.read_automations_by_name(automation.name)
        if not earlier:
            client.create_automation(automation)
        elif _content(earlier[0]) != _content(automation):
            client.update_automation(earlier[0].id, automation)


def _crash(runs: str, trigger: EventTrigger, message: str) -> AutomationCore:
    state = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)
    return AutomationCore(
        name=f"millstream: crash runs {runs}",
        description="Its slot is free again, and a new run goes on from what is published.",
        trigger=trigger,
        actions=[state],
    )


def _finish_cancelling(after: timedelta) -> AutomationCore:
    # Prefect lets no other state follow Cancelling.
    state = ChangeFlowRunState(
        state=StateType.CANCELLED,
        name="Cancelled",
        message=f"not cancelled by its worker after {after.seconds} s",
    )
    return AutomationCore(
        name="millstream: finish the cancelling of runs whose worker is gone",
        description="Its slot is free again, and a new run goes on from what is published.",
        trigger=_unless_followed({"Cancelling"}, set(), after),
        actions=[state],
    )


def _cancel_runs_that_hang(after: timedelta) -> AutomationCore:
    trigger = _unless_followed({"Running"}, set(), after)
    # A flow inside another has no process of its own that could be told.
    deployed = ResourceSpecification({"prefect.resource.role": "deployment"})
    return AutomationCore(
        name="millstream: cancel runs that take too long",
        description="Set by MILLSTREAM_LONGEST_RUN_HOURS.",
        trigger=trigger.model_copy(update={"match_related": deployed}),
        # Of CancelFlowRun(), Prefect 3.8.8 makes an action that does nothing.
        actions=[ChangeFlowRunState(state=StateType.CANCELLING, name="Cancelling")],
    )


def _notify_of_failures(block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name="millstream: notify of failed scheduled runs",
        description=f"Calls the notification block {NOTIFICATION_BLOCK}.",
        trigger=EventTrigger(
            expect=_events(_FAILED),
            match=_FLOW_RUNS,
            # The scheduler gives this tag to the runs that it makes; an event makes the others.
            match_related=ResourceSpecification(
                {"prefect.resource.id": ["prefect.tag.auto-scheduled", "prefect.automation.*"]}
            ),
            # Prefect 3.8.8 may look several times at an event that came before the one it follows.
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


def _notification_block(client: SyncPrefectClient, settings: Settings) -> UUID | None:
    """Return the block that is called: of another kind if there is one, else a webhook."""
    kind = CustomWebhookNotificationBlock.get_block_type_slug()
    blocks = client.read_block_documents(limit=200)
    found = next((block for block in blocks if block.name == NOTIFICATION_BLOCK), None)
    is_ours = found is None or (found.block_type is not None and found.block_type.slug == kind)
    if settings.notification_url is None or not is_ours:
        return found.id if found else None
    webhook = CustomWebhookNotificationBlock(
        name=NOTIFICATION_BLOCK,
        # An address may hold a token; the UI shows no secret.
        url="{{address}}",
        secrets=SecretDict({"address": settings.notification_url.get_secret_value()}),
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    return cast("UUID", webhook.save(NOTIFICATION_BLOCK, overwrite=True))


def _unless_followed(after: set[str], expect: set[str], within: timedelta) -> EventTrigger:
    """Fire if, within this time, a run neither shows what is expected, nor ends, nor waits."""
    return EventTrigger(
        after=_events(after),
        expect=_events(expect | _ENDED | _WAITS),
        match=_FLOW_RUNS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _events(names: set[str]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


def _content(automation: AutomationCore) -> dict[str, Any]:
    # One that was switched off stays so.
    fields = set(AutomationCore.model_fields) - {"owner_resource", "enabled"}
    # In JSON the order of a set differs with each making.
    return automation.model_dump(mode="python", include=fields)
