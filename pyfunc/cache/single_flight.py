"""Single-flight deduplication: threads of a process compute each distinct text once."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Claims(Generic[Value]):
    """The texts of one claim: those this thread owns, and those it awaits from other threads."""

    def __init__(
        self,
        changed: threading.Condition,
        claimed: "dict[str, Claims[Value]]",
        texts: Iterable[str],
    ) -> None:
        self._changed = changed
        self._claimed = claimed
        self._owned = dict.fromkeys(texts)
        self._awaited: dict[str, Claims[Value]] = {}
        self._resolved: dict[str, Value] = {}
        self._ended = False

    @property
    def owned(self) -> list[str]:
        """The texts that this thread must resolve, in the order given."""
        return list(self._owned)

    def acquire(self) -> None:
        """Become the owner of texts without one; await the others from their owners."""
        with self._changed:
            for text in self._owned:
                owner = self._claimed.setdefault(text, self)
                if owner is not self:
                    self._awaited[text] = owner
            for text in self._awaited:
                del self._owned[text]

    def resolve(self, values: Mapping[str, Value]) -> None:
        """Publish the values of owned texts to the threads that await them."""
        with self._changed:
            self._resolved |= values
            self._release(values)
            self._changed.notify_all()

    def abandon(self) -> None:
        """Release the owned texts that have no value; threads that await them claim them anew."""
        with self._changed:
            self._release(self._owned)
            self._ended = True
            self._changed.notify_all()

    def wait(self) -> dict[str, Value]:
        """Return the values of awaited texts, without those that their owners abandoned.

        Call it after the end of all claims of this thread, or two threads may deadlock.
        """
        values = {}
        with self._changed:
            for text, owner in self._awaited.items():
                while not owner._has_ended(text):
                    self._changed.wait()
                if text in owner._resolved:
                    values[text] = owner._resolved[text]
        return values

    def _has_ended(self, text: str) -> bool:
        return self._ended or text in self._resolved

    def _release(self, texts: Iterable[str]) -> None:
        for text in texts:
            # A resolved text may have another owner by now.
            if self._claimed.get(text) is self:
                del self._claimed[text]


class InFlight(Generic[Value]):
    """The texts that threads of this process have claimed and not yet resolved."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._claimed: dict[str, Claims[Value]] = {}

    @contextmanager
    def claim(self, texts: Iterable[str]) -> Iterator[Claims[Value]]:
        """Claim texts for the block, all at once; texts without a value at its end are abandoned.

        Args:
            texts: Distinct texts.
        """
        claims = Claims(self._changed, self._claimed, texts)
        try:
            claims.acquire()
            yield claims
        finally:
            claims.abandon()
