"""Machines whose cores are shared, and processes that compute on them, in simulated time."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count

Then = Callable[[], None]


class _Machine:
    """The jobs of a machine; each gets an equal part of its cores, and one core at most.

    A clock of its own goes on by what each job gets. So the ends of the jobs, told by that clock,
    stay as they are when jobs come and go.
    """

    def __init__(self, cores: int) -> None:
        self.jobs: list[tuple[float, int, Then]] = []
        self.changes = 0
        self._cores = cores
        self._given = 0.0
        self._since = 0.0

    @property
    def _rate(self) -> float:
        return min(1.0, self._cores / len(self.jobs)) if self.jobs else 0.0

    def add(self, now: float, seconds: float, number: int, then: Then) -> None:
        self._go_on(now)
        heappush(self.jobs, (self._given + seconds, number, then))
        self.changes += 1

    def end_first(self, now: float) -> Then:
        self._go_on(now)
        end, _, then = heappop(self.jobs)
        self._given = max(self._given, end)  # sums of floats may fall short of it
        self.changes += 1
        return then

    def next_end(self) -> float:
        return self._since + max(0.0, self.jobs[0][0] - self._given) / self._rate

    def _go_on(self, now: float) -> None:
        self._given += (now - self._since) * self._rate
        self._since = now


class Clock:
    """Simulated time, which goes from the end of a job to the end of the next one.

    Args:
        cores: The cores of each machine.

    Attributes:
        now: Seconds since the start.
    """

    def __init__(self, cores: Sequence[int]) -> None:
        self.now = 0.0
        self._machines = [_Machine(of_machine) for of_machine in cores]
        self._ends: list[tuple[float, int, int, int]] = []
        self._numbers = count()

    def compute(self, machine: int, seconds: float, then: Then, cores: int = 1) -> None:
        """Let a machine compute for some CPU seconds, and call `then` at the end.

        Args:
            machine: The machine.
            seconds: Of all cores together.
            then: Called at the end.
            cores: On how many cores at most; equal parts begin together, and end together.
        """
        for part in (*(nothing,) * (cores - 1), then):
            self._machines[machine].add(self.now, seconds / cores, next(self._numbers), part)
        self._expect(machine)

    def run(self) -> None:
        """Go on until no machine computes."""
        while self._ends:
            end, _, machine, changes = heappop(self._ends)
            if changes != self._machines[machine].changes:
                continue  # other jobs came or went since
            self.now = end
            then = self._machines[machine].end_first(end)
            self._expect(machine)
            then()

    def _expect(self, machine: int) -> None:
        found = self._machines[machine]
        if found.jobs:
            heappush(self._ends, (found.next_end(), next(self._numbers), machine, found.changes))


class Process:
    """A process that does one thing after another, or as many at a time as it has threads.

    Args:
        clock: The time.
        machine: What it runs on.
        threads: Things that it does at a time.
        cores: Cores that it uses for each of them.

    Attributes:
        cpu_s: CPU seconds that it has begun.
        ended_s: When it ended what it did last.
    """

    def __init__(self, clock: Clock, machine: int, threads: int = 1, cores: int = 1) -> None:
        self.cpu_s = 0.0
        self.ended_s = 0.0
        self.machine = machine
        self._clock = clock
        self._cores = cores
        self._idle = threads
        self._waiting: deque[tuple[float, Then]] = deque()

    def do(self, seconds: float, then: Then) -> None:
        """Compute for some CPU seconds when a thread is idle, and call `then` at the end."""
        self._waiting.append((seconds, then))
        self._begin()

    def _begin(self) -> None:
        while self._idle and self._waiting:
            seconds, then = self._waiting.popleft()
            self._idle -= 1
            self.cpu_s += seconds
            self._clock.compute(self.machine, seconds, partial(self._end, then), self._cores)

    def _end(self, then: Then) -> None:
        self._idle += 1
        self.ended_s = self._clock.now
        then()
        self._begin()


def nothing() -> None:
    """Wait for nothing: nobody needs the end of a job, or another one has the same."""
