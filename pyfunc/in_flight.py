"""What the threads of a process are computing right now, so that each text is computed once."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Claims(Generic[Value]):
    """What one thread claimed: texts to settle itself, and those that others have claimed."""

    def __init__(self, lock: threading.Lock, claimed: dict[str, Future[Value | None]]) -> None:
        self._lock = lock
        self._claimed = claimed
        self._mine: dict[str, Future[Value | None]] = {}
        self._theirs: dict[str, Future[Value | None]] = {}

    @property
    def mine(self) -> list[str]:
        """The texts that this thread must settle, in the order claimed."""
        return list(self._mine)

    def take(self, texts: Iterable[str]) -> None:
        """Claim what nobody has claimed; remember whose the rest is."""
        with self._lock:
            for text in texts:
                if text in self._claimed:
                    self._theirs[text] = self._claimed[text]
                else:
                    # Mine first: what an interrupt leaves here is given up all the same.
                    self._mine[text] = self._claimed[text] = Future()

    def settle(self, values: Mapping[str, Value]) -> None:
        """Hand the values of texts of mine to whoever waits for them."""
        for text, value in values.items():
            self._end(text, value)

    def give_up(self) -> None:
        """Let those who wait for what is not settled do it themselves."""
        for text in self._mine:
            self._end(text, None)

    def wait(self) -> dict[str, Value]:
        """Return what others settled; a text that its owner gave up is left out.

        Call it only after all of one's own claims have ended, or two threads may wait for
        each other.
        """
        values = {text: claim.result() for text, claim in self._theirs.items()}
        return {text: value for text, value in values.items() if value is not None}

    def _end(self, text: str, value: Value | None) -> None:
        claim = self._mine[text]
        with self._lock:
            # Once settled, the text may have been claimed anew.
            if self._claimed.get(text) is claim:
                del self._claimed[text]
        if not claim.done():
            claim.set_result(value)


class InFlight(Generic[Value]):
    """The texts that threads of this process have claimed and not yet settled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claimed: dict[str, Future[Value | None]] = {}

    @contextmanager
    def claim(self, texts: Iterable[str]) -> Iterator[Claims[Value]]:
        """Claim texts all at once; at the end of the block, what is not settled is given up.

        Args:
            texts: Distinct texts.
        """
        claims = Claims(self._lock, self._claimed)
        try:
            claims.take(texts)
            yield claims
        finally:
            claims.give_up()
