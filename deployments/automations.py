"""What Prefect's server does by itself: end runs that died, and tell someone of failures.

The re-scoring after a promotion is a trigger of its deployment, in `prefect.yaml`.
"""

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

from deployments.services import HEARTBEAT_S
from tasks.settings import Settings

NOTIFICATION_BLOCK = "millstream-failures"

_SILENCE = timedelta(seconds=3 * HEARTBEAT_S)  # two heartbeats may come late, or be lost
# While a process loads Prefect and the flow it sends none; on busy cores that takes a minute.
_START = timedelta(seconds=180)
_PENDING = {"Pending", "Submitting", "InfrastructurePending"}
_FAILED = {"Failed", "TimedOut", "Crashed"}
_ENDED = {"Completed", "Cancelled", *_FAILED}
_WAITS = {"Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Paused", "Suspended"}
_FLOW_RUNS = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def create_automations(client: SyncPrefectClient, settings: Settings) -> None:
    """Make the automations; one that is there is changed only if it differs.

    A new one would not know of the runs that the one before it waits for.

    Args:
        client: Of the server.
        settings: Tell where failures are reported; without that, no one is notified.
    """
    wanted = [_crash_silent_runs(), _crash_runs_that_never_start()]
    if (block_id := _notification_block(client, settings)) is not None:
        wanted.append(_notify_of_failures(block_id))
    for automation in wanted:
        earlier = client.read_automations_by_name(automation.name)
        if not earlier:
            client.create_automation(automation)
        elif _content(earlier[0]) != _content(automation):
            client.update_automation(earlier[0].id, automation)


def _crash_silent_runs() -> AutomationCore:
    return AutomationCore(
        name="millstream: crash runs whose process died",
        description=f"A run sends a heartbeat every {HEARTBEAT_S} seconds.",
        trigger=_unless_followed(
            _events({"Running", "Retrying", "heartbeat"}),
            _events({"heartbeat", *_ENDED, *_WAITS}),
            _SILENCE,
        ),
        actions=[_crash(f"no heartbeat for {_SILENCE.seconds} s: its process died")],
    )


def _crash_runs_that_never_start() -> AutomationCore:
    return AutomationCore(
        name="millstream: crash runs that never start",
        description="A process that dies before its run is running has sent no heartbeat.",
        trigger=_unless_followed(
            _events(_PENDING | {"Cancelling"}), _events({"Running", *_ENDED, *_WAITS}), _START
        ),
        actions=[_crash(f"not running after {_START.seconds} s: its process died")],
    )


def _notify_of_failures(block_id: UUID) -> AutomationCore:
    return AutomationCore(
        name="millstream: notify of failed scheduled runs",
        description=f"Calls the notification block {NOTIFICATION_BLOCK}.",
        trigger=EventTrigger(
            expect=_events(_FAILED),
            match=_FLOW_RUNS,
            # The scheduler gives this tag to the runs that it makes.
            match_related=ResourceSpecification(
                {"prefect.resource.id": "prefect.tag.auto-scheduled"}
            ),
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
    """Return the block that is called, of whatever kind; one is made if an address is given."""
    for block in client.read_block_documents(limit=200):
        if block.name == NOTIFICATION_BLOCK:
            return block.id
    if settings.notification_url is None:
        return None
    webhook = CustomWebhookNotificationBlock(
        name=NOTIFICATION_BLOCK,
        url=settings.notification_url.get_secret_value(),
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    return cast("UUID", webhook.save(NOTIFICATION_BLOCK))


def _unless_followed(after: set[str], expect: set[str], within: timedelta) -> EventTrigger:
    return EventTrigger(
        after=after,
        expect=expect,
        match=_FLOW_RUNS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _crash(message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)


def _events(names: set[str]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


def _content(automation: AutomationCore) -> dict[str, Any]:
    fields = set(AutomationCore.model_fields) - {"owner_resource"}
    # Ids of the parts differ with each making.
    return automation.model_dump(mode="json", include=fields, exclude={"trigger": {"id"}})
