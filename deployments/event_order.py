"""In what order, and how often, Prefect's server looks at an event for its automations.

`deployments.services` names this module in Prefect's setting `server.events.causal_ordering`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from prefect.server.events.ordering import event_handler, memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.types._datetime import now
from sqlalchemy.exc import OperationalError

# One server makes the events of a run's states and hands them on one after the other.
_PATIENCE = timedelta(seconds=10)
_RETRIES = 6
_FIRST_PAUSE_S = 0.25  # twice as long after each attempt, so that all take a quarter of a minute


class CausalOrdering(memory.CausalOrdering):
    """Prefect's order in memory, but with seconds to wait, and again after a busy database.

    Prefect waits a quarter of an hour for an event that may never come: the scheduler sends none
    for the runs that it makes, and what a server saw is not known to the next one. Until then its
    automations do nothing for the run, and never do if the server starts again meanwhile:
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/events/ordering/memory.py

    And it gives an event up after four attempts within milliseconds, if another connection writes
    to SQLite at each: a transaction that has begun to read does not wait to write, see
    https://www.sqlite.org/rescode.html#busy_snapshot
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

    @asynccontextmanager
    async def preceding_event_confirmed(
        self, handler: event_handler, event: ReceivedEvent, depth: int = 0
    ) -> AsyncGenerator[None, None]:
        """Have the block evaluate an event in its order, and the handler again if that failed.

        Args:
            handler: What evaluates an event, with this as its first step.
            event: The event.
            depth: How often the handler has called itself through this.

        Raises:
            EventArrivedEarly: The event is to wait for the one that it follows.
            OperationalError: The database was busy at each attempt.
        """
        evaluated = False
        try:
            async with super().preceding_event_confirmed(handler, event, depth):
                yield
                evaluated = True
        except OperationalError:
            if evaluated or depth >= _RETRIES:  # what failed afterwards is an event that follows
                raise
            await asyncio.sleep(_FIRST_PAUSE_S * 2**depth)
            await handler(event, depth=depth + 1)
