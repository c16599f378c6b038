"""Schema of a load on a server, and of servers under the same loads."""

from typing import Literal

from benchmarks.record import Record

Dialect = Literal["classify", "invocations", "text"]
Texts = Literal["distinct", "repeated"]

OK = "200"


class LoadOrder(Record):
    """What the load generator has to do.

    Attributes:
        port: The port of the server on 127.0.0.1.
        dialect: How a text is sent.
        texts: The texts.
        repeat: Whether texts are drawn at random, again and again; else each is sent once, and a
            load ends when there are no more.
        clients: A closed loop of this many clients, each of which waits for its answer.
        rate: An open loop with Poisson arrivals, of this many requests a second on average.
        seconds: Duration after the warm-up.
        warm_up: Seconds before it, whose requests are not counted.
        seed: Of arrivals and drawn texts.
        connections: Connections of an open loop at most; what arrives beyond them waits.
        timeout: Seconds that a request may take.
    """

    port: int
    dialect: Dialect
    texts: tuple[str, ...]
    repeat: bool = False
    clients: int = 0
    rate: float = 0.0
    seconds: float
    warm_up: float = 0.0
    seed: int = 0
    connections: int = 512  # a process may often have 1,024 files
    timeout: float = 30.0


class Load(Record):
    """What a load generator saw of a server; latencies in ms, of answers with status 200 alone.

    Attributes:
        seconds: Duration without the warm-up, until the last answer.
        outcomes: Number of requests by status, or by what went wrong with the connection.
        p50: Median latency; that of an open loop counts from the scheduled arrival.
        p99: Latency that 1 % exceed.
        p999: Latency that 0.1 % exceed.
        slowest: The greatest latency.
        cpu_seconds: CPU time of the generator, without the warm-up.
        connections: The most connections at a time.
        rate: Scheduled arrivals a second; None for a closed loop.
        waited: Requests of an open loop that waited for a connection, since all were busy.
        lateness: Milliseconds after its scheduled arrival that 1 % exceed when a request is sent.
    """

    seconds: float
    outcomes: dict[str, int]
    p50: float | None
    p99: float | None
    p999: float | None
    slowest: float | None
    cpu_seconds: float
    connections: int
    rate: float | None = None
    waited: int = 0
    lateness: float | None = None

    @property
    def per_second(self) -> float:
        """Requests a second that were answered with status 200."""
        return self.outcomes.get(OK, 0) / self.seconds

    @property
    def errors(self) -> int:
        """Requests without such an answer."""
        return sum(self.outcomes.values()) - self.outcomes.get(OK, 0)

    @property
    def cores(self) -> float:
        """Cores that the generator took."""
        return self.cpu_seconds / self.seconds


class ClosedLoop(Record):
    """Servers under the same closed loop, in turns.

    Attributes:
        texts: Whether each text is sent once, or drawn from a few.
        clients: Number of clients.
        rounds: What each server did, round by round.
    """

    texts: Texts
    clients: int
    rounds: tuple[dict[str, Load], ...]


class OpenLoop(Record):
    """A server under an open loop at a share of its own capacity."""

    server: str
    share: float
    load: Load


class Comparison(Record):
    """Servers of the same weights on the same cores.

    Attributes:
        kind: Which texts.
        max_tokens: Longer texts are truncated to this many tokens.
        engine: Engine and precision of all servers but that of transformers.
        cores: Cores that servers and load generator share.
        servers: Those that were compared.
        skipped: Why a server is missing.
        differing: Of the texts asked before, those with another label than the engine alone gives.
        asked: Number of these texts.
        alone: Texts a second of the engine alone, all in one call, round by round.
        closed: The closed loops.
        open: The open loops.
        repeated: Number of texts that repeated ones are drawn from.
    """

    kind: str
    max_tokens: int
    engine: str
    cores: int
    servers: tuple[str, ...]
    skipped: dict[str, str]
    differing: dict[str, int]
    asked: int
    alone: tuple[float, ...]
    closed: tuple[ClosedLoop, ...]
    open: tuple[OpenLoop, ...]
    repeated: int

    def loop(self, texts: Texts, clients: int) -> tuple[dict[str, Load], ...]:
        """Return the rounds of a closed loop, or none if it was not measured."""
        for found in self.closed:
            if (found.texts, found.clients) == (texts, clients):
                return found.rounds
        return ()
