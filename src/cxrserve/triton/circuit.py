"""A circuit breaker: who fails again and again is left alone until a probe shows that it works."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Of a circuit (Nygard, Release It!, 2007)."""

    CLOSED = "closed"
    """Requests go through."""
    OPEN = "open"
    """None do."""
    HALF_OPEN = "half_open"
    """None do, but it is being probed."""


FAILURES = 2
"""So many failures without a success between them open it: one may be the image's fault."""


class Circuit:
    """The breaker of one endpoint. Pure; it begins open, until a probe has succeeded."""

    def __init__(self) -> None:
        self.state = State.OPEN
        self.opened = 0
        """How often it has opened since it was made."""
        self._failures = 0

    @property
    def lets_through(self) -> bool:
        """Whether requests may go to the endpoint."""
        return self.state is State.CLOSED

    def succeeded(self) -> None:
        """A request was answered as it should be."""
        self._failures = 0

    def failed(self, *, surely: bool = False) -> None:
        """A request was not; `surely`: the endpoint is gone, which one failure shows."""
        self._failures += 1
        if self.lets_through and (surely or self._failures >= FAILURES):
            self.state = State.OPEN
            self.opened += 1

    def probing(self) -> None:
        """A probe of an open circuit begins."""
        if not self.lets_through:
            self.state = State.HALF_OPEN

    def probed(self, *, works: bool) -> None:
        """What the probe showed; of a closed circuit too."""
        if self.lets_through:
            if not works:
                self.failed(surely=True)
        else:
            self.state = State.CLOSED if works else State.OPEN
            self._failures = 0
