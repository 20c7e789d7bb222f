"""Who waits to be decoded, before a network can run it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from cxrserve.batching.line import Line, Priority, Waiting


class HostQueue(Protocol):
    """Requests that were let in and are not decoded yet."""

    def add(self, request: Waiting) -> None:
        """Let one wait."""

    def first(self, now: float) -> Priority | None:
        """The class of who is next; None where nobody waits."""

    def take(self, now: float) -> int:
        """The number of who is next; it waits no more."""


class InTurn:
    """As the service decodes: by the rules of the networks' line."""

    def __init__(self) -> None:
        self.line = Line()

    def add(self, request: Waiting) -> None:
        """See `HostQueue`."""
        self.line.add(request)

    def first(self, now: float) -> Priority | None:
        """See `HostQueue`."""
        found = self.line.first(now)
        return None if found is None else found[0]

    def take(self, now: float) -> int:
        """See `HostQueue`."""
        found = self.line.first(now)
        assert found is not None
        self.line.take((found[1].number,))
        return found[1].number


class FirstCome:
    """First come, first served; nobody is more urgent than another."""

    def __init__(self) -> None:
        self._queue: deque[int] = deque()

    def add(self, request: Waiting) -> None:
        """See `HostQueue`."""
        self._queue.append(request.number)

    def first(self, now: float) -> Priority | None:
        """See `HostQueue`."""
        return Priority.ROUTINE if self._queue else None

    def take(self, now: float) -> int:
        """See `HostQueue`."""
        return self._queue.popleft()
