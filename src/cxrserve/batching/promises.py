"""Appointments for who was refused: so that `Retry-After` is kept.

Under lasting overload a newcomer takes the place of whoever was told to come back, and who obeys
would be refused for ever. So each who is refused gets an appointment, remembered for a while by
what was asked (a digest, no image), in a timetable that is a little less dense than what the device
can serve; and newcomers leave room for those whose appointments are due. Who comes when he was told
is let in up to the deadline itself. Times are told in whole seconds, as `Retry-After` counts them;
a time is chosen that falls where the timetable has room, so that arrivals are even: even arrivals
hardly ever meet in a line that is short. Pure: the time is passed in.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter

NEWCOMERS_SHARE = 0.85
"""Share of their time that newcomers may spend waiting while appointments are out."""
_FLOOR = 0.1
"""They may always wait this share of it: else the device would idle between appointments."""

_FILLED = 0.8
"""Share of what the device can serve that is given away by appointment."""
_SLOT_S = 0.25
_CHOICES = 8
_KEPT_AT_FIRST = 0.5
_LEAST_KEPT = 0.1
_SMOOTHING = 0.02
# Clients add jitter of their own, and their clocks are not ours.
_EARLY_S, _LATE_S = 0.25, 3.0
_MOST = 20_000


class Promises:
    """Appointments by key. Used from one event loop."""

    def __init__(self) -> None:
        self._at: dict[bytes, float] = {}
        # (time, key), ascending.
        self._timetable: list[tuple[float, bytes]] = []
        # By width and number of a stretch of time: how many were told to come in it.
        self._told: Counter[tuple[float, int]] = Counter()
        self._first_free = 0
        self._kept_share = _KEPT_AT_FIRST

    def __len__(self) -> int:
        return len(self._at)

    def promise(self, key: bytes, *, now: float, wait_s: float, each_s: float) -> float:
        """Give an appointment; returns the whole seconds after which to come back.

        Args:
            wait_s: after which there would be room if nobody else came.
            each_s: what one request takes of the device.
        """
        self._forget(now)
        if key in self._at:
            self._drop(key)
        elif len(self._at) >= _MOST:
            self._drop(self._timetable[0][1])
        wait = self._free_wait(now, max(1, math.ceil(wait_s)), each_s)
        for width_s in (_SLOT_S, 1.0):
            self._told[width_s, math.floor((now + wait) / width_s)] += 1
        self._at[key] = now + wait
        insort(self._timetable, (now + wait, key))
        return float(wait)

    def knows(self, key: bytes) -> bool:
        """Whether this request was told to come back, whenever it comes."""
        return key in self._at

    def keeps(self, key: bytes, now: float) -> bool:
        """Whether this request was told to come back about now; the appointment is then over."""
        self._forget(now)
        at = self._at.get(key)
        if at is None or now < at - _EARLY_S:
            return False
        self._drop(key)
        self._kept_share += _SMOOTHING * (1 - self._kept_share)
        return True

    def newcomers_room(
        self, *, now: float, deadline: float, alone_s: float, each_s: float
    ) -> float:
        """When a newcomer must be expected to be answered; later ones are refused.

        Args:
            deadline: his.
            alone_s: what he takes when nobody waits.
            each_s: what one request takes of the device.
        """
        if not self._at:
            return deadline
        due = bisect_left(self._timetable, (deadline, b"")) * self._kept_share
        spare_s = deadline - now
        return now + max(NEWCOMERS_SHARE * spare_s - due * each_s, _FLOOR * spare_s + alone_s)

    def _free_wait(self, now: float, least: int, each_s: float) -> int:
        """The fewest whole seconds that end where the timetable has room."""
        # More are told than can be served, for not all come.
        a_second = _FILLED / max(each_s, 1e-6) / max(self._kept_share, _LEAST_KEPT)
        self._first_free = max(self._first_free, math.floor(now + least))
        while self._is_full(self._first_free, 1.0, a_second):
            self._first_free += 1
        wait = max(least, math.ceil(self._first_free - now))
        # A burst can only come back at one moment of each second: those may be overfull then.
        possible = [
            later
            for later in range(wait, wait + _CHOICES)
            if not self._is_full(math.floor(now + later), 1.0, a_second)
        ]
        for later in possible:
            if not self._is_full(math.floor((now + later) / _SLOT_S), _SLOT_S, a_second):
                return later
        return possible[0] if possible else wait

    def _is_full(self, place: int, width_s: float, a_second: float) -> bool:
        # A slow device serves one in several places: what is left over counts for the next.
        held = width_s * a_second
        return self._told[width_s, place] >= math.floor((place + 1) * held) - math.floor(
            place * held
        )

    def _forget(self, now: float) -> None:
        if len(self._told) > 2 * _MOST:
            past = {place for place in self._told if (place[1] + 1) * place[0] < now}
            self._told = Counter({p: n for p, n in self._told.items() if p not in past})
        while self._timetable and self._timetable[0][0] < now - _LATE_S:
            self._drop(self._timetable[0][1])
            self._kept_share -= _SMOOTHING * self._kept_share

    def _drop(self, key: bytes) -> None:
        at = self._at.pop(key)
        del self._timetable[bisect_left(self._timetable, (at, key))]
        if not self._at:
            self._told.clear()
            self._first_free = 0
