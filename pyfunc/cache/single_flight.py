"""What the threads of a process are computing right now, so that each text is computed once."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Claims(Generic[Value]):
    """What one thread claimed: texts to settle itself, and those that others have claimed."""

    def __init__(
        self,
        changed: threading.Condition,
        claimed: "dict[str, Claims[Value]]",
        texts: Iterable[str],
    ) -> None:
        self._changed = changed
        self._claimed = claimed
        self._mine = dict.fromkeys(texts)
        self._theirs: dict[str, Claims[Value]] = {}
        self._settled: dict[str, Value] = {}
        self._ended = False

    @property
    def mine(self) -> list[str]:
        """The texts that this thread must settle, in the order claimed."""
        return list(self._mine)

    def take(self) -> None:
        """Claim what nobody has claimed; remember whose the rest is."""
        with self._changed:
            for text in self._mine:
                owner = self._claimed.setdefault(text, self)
                if owner is not self:
                    self._theirs[text] = owner
            for text in self._theirs:
                del self._mine[text]

    def settle(self, values: Mapping[str, Value]) -> None:
        """Hand the values of texts of mine to whoever waits for them."""
        with self._changed:
            self._settled |= values
            self._release(values)
            self._changed.notify_all()

    def give_up(self) -> None:
        """Let those who wait for what is not settled do it themselves."""
        with self._changed:
            self._release(self._mine)
            self._ended = True
            self._changed.notify_all()

    def wait(self) -> dict[str, Value]:
        """Return what others settled; a text that its owner gave up is left out.

        Call it only after all of one's own claims have ended, or two threads may wait for
        each other.
        """
        values = {}
        with self._changed:
            for text, owner in self._theirs.items():
                while not owner._has_ended(text):
                    self._changed.wait()
                if text in owner._settled:
                    values[text] = owner._settled[text]
        return values

    def _has_ended(self, text: str) -> bool:
        return self._ended or text in self._settled

    def _release(self, texts: Iterable[str]) -> None:
        for text in texts:
            # Once settled, the text may have been claimed anew.
            if self._claimed.get(text) is self:
                del self._claimed[text]


class InFlight(Generic[Value]):
    """The texts that threads of this process have claimed and not yet settled."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._claimed: dict[str, Claims[Value]] = {}

    @contextmanager
    def claim(self, texts: Iterable[str]) -> Iterator[Claims[Value]]:
        """Claim texts all at once; at the end of the block, what is not settled is given up.

        Args:
            texts: Distinct texts.
        """
        claims = Claims(self._changed, self._claimed, texts)
        try:
            claims.take()
            yield claims
        finally:
            claims.give_up()
