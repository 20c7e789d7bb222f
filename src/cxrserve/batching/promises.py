"""Who was told to come back, and when: so that `Retry-After` is kept.

Under lasting overload a newcomer takes the place that somebody was promised, and who obeys would be
refused for ever. So a promise is remembered for a while by what was asked (a digest, no image); who
keeps it is let in up to the deadline itself, while newcomers leave some room. Promises are spread
over time as fast as they are expected to be kept. Pure: the time is passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

NEWCOMERS_SHARE = 0.85
"""Share of their time that newcomers may spend waiting while promises are out."""

_KEPT_AT_FIRST = 0.3
_SMOOTHING = 0.02
# Retry-After counts whole seconds, and clients add jitter of their own.
_EARLY_S, _LATE_S = 0.25, 5.0
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class _Promise:
    at: float
    until: float


class Promises:
    """Promises by key, the oldest first."""

    def __init__(self) -> None:
        self._out: OrderedDict[bytes, _Promise] = OrderedDict()
        self._kept_share = _KEPT_AT_FIRST
        self._next = 0.0

    def __len__(self) -> int:
        return len(self._out)

    def promise(self, key: bytes, *, now: float, wait_s: float, each_s: float) -> float:
        """Promise a place; returns the seconds after which to come back.

        Args:
            wait_s: after which there would be room if nobody else came.
            each_s: what one request takes of the device.
        """
        self._forget(now)
        at = max(now + wait_s, self._next)
        # Places are handed out as densely as promises are likely to be kept.
        self._next = at + each_s * self._kept_share
        self._out[key] = _Promise(at, at + _LATE_S)
        self._out.move_to_end(key)
        if len(self._out) > _MOST:
            self._out.popitem(last=False)
        return at - now

    def keeps(self, key: bytes, now: float) -> bool:
        """Whether this request was told to come back about now; the promise is then spent."""
        self._forget(now)
        promised = self._out.get(key)
        if promised is None or now < promised.at - _EARLY_S:
            return False
        del self._out[key]
        self._kept_share += _SMOOTHING * (1 - self._kept_share)
        return True

    def _forget(self, now: float) -> None:
        gone = [key for key, promised in self._first(64) if promised.until < now]
        for key in gone:
            del self._out[key]
            self._kept_share -= _SMOOTHING * self._kept_share

    def _first(self, count: int) -> list[tuple[bytes, _Promise]]:
        return [item for item, _ in zip(self._out.items(), range(count), strict=False)]
