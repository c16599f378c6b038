"""In what order Prefect's server looks at events for its automations.

`deployments.services.definitions` names this module in Prefect's setting
`server.events.causal_ordering`.
"""

from datetime import timedelta

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.types._datetime import now

# One server makes the events of a run's states and hands them on one after the other.
_PATIENCE = timedelta(seconds=10)


class CausalOrdering(memory.CausalOrdering):
    """Prefect's order in memory, but with seconds to wait.

    Prefect waits a quarter of an hour for an event that may never come: the scheduler sends none
    for the runs that it makes, and what a server saw is not known to the next one. Until then its
    automations do nothing for the run, and never do if the server starts again meanwhile:
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/events/ordering/memory.py
    """

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Let an event pass that has waited for long enough.

        Raises:
            EventArrivedEarly: It is to wait for the event that it follows.
        """
        if now("UTC") - event.received < _PATIENCE:
            await super().wait_for_leader(event)

    async def get_lost_followers(self) -> list[ReceivedEvent]:
        """Return the events that have waited for long enough, in their order, and forget them."""
        async with self._lock:
            lost = [
                self._events[follower]
                for follower, received in self._waitlist.items()
                if now("UTC") - received >= _PATIENCE
            ]
        for follower in lost:
            await self.forget_follower(follower)
        return sorted(lost, key=lambda event: event.occurred)
