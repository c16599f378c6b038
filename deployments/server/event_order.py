"""Causal ordering of events for Prefect's automations, with a wait of seconds.

`deployments.services.definitions` names this module in Prefect's setting
`server.events.causal_ordering`.
"""

from datetime import timedelta

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.types._datetime import now

# Enough, since one server emits the events of a run's states one after the other.
_MAX_WAIT = timedelta(seconds=10)


class CausalOrdering(memory.CausalOrdering):
    """Prefect's ordering in memory, with a shorter wait for the preceding event.

    Prefect waits 15 minutes for an event that may never come: the scheduler emits none for its
    runs, and a restarted server does not know the earlier ones. Meanwhile automations ignore the
    run, and for ever if the server restarts again:
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/events/ordering/memory.py
    """

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Let an event pass after the wait.

        Raises:
            EventArrivedEarly: If it has to wait for the preceding event.
        """
        if now("UTC") - event.received < _MAX_WAIT:
            await super().wait_for_leader(event)

    async def get_lost_followers(self) -> list[ReceivedEvent]:
        """Remove and return the events whose wait is over, in order of occurrence."""
        async with self._lock:
            lost = [
                self._events[follower]
                for follower, received in self._waitlist.items()
                if now("UTC") - received >= _MAX_WAIT
            ]
        for follower in lost:
            await self.forget_follower(follower)
        return sorted(lost, key=lambda event: event.occurred)
