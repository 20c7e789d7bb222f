"""Who was told when to come back is let in then, once, and forgotten if he stays away."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest

from cxrserve.batching.promises import Promises


def test_a_promise_is_kept_at_its_time_and_only_once() -> None:
    promises = Promises()
    wait_s = promises.promise(b"film", now=100.0, wait_s=2.0, each_s=0.01)
    assert wait_s == pytest.approx(2.0)
    assert not promises.keeps(b"film", 101.0)  # too early
    assert not promises.keeps(b"another", 102.0)
    assert promises.keeps(b"film", 102.0)
    assert not promises.keeps(b"film", 102.0)


def test_who_stays_away_is_forgotten() -> None:
    promises = Promises()
    for number in range(100):
        promises.promise(bytes([number]), now=0.0, wait_s=1.0, each_s=0.01)
    assert len(promises) == 100
    for _ in range(3):
        assert not promises.keeps(b"late", 60.0)
    assert len(promises) == 0


def test_promises_are_spread_so_that_all_who_obey_do_not_come_at_once() -> None:
    promises = Promises()
    waits = [
        promises.promise(number.to_bytes(2), now=0.0, wait_s=1.0, each_s=0.1)
        for number in range(50)
    ]
    assert max(Counter(waits).values()) <= 10 * 0.8 / 0.5  # ten a second, half of whom come


def test_the_more_promises_are_kept_the_wider_they_are_spread() -> None:
    def spread(obeyed: bool) -> float:
        promises, now = Promises(), 0.0
        for number in range(200):
            key = number.to_bytes(2)
            now += promises.promise(key, now=now, wait_s=0.5, each_s=0.1)
            if obeyed:
                assert promises.keeps(key, now)
            now += 10.0
        waits = [
            promises.promise(b"%d" % number, now=now, wait_s=0.5, each_s=0.1)
            for number in range(200)
        ]
        return max(waits)

    assert spread(obeyed=True) == pytest.approx(200 * 0.1 / 0.8, abs=6)
    assert spread(obeyed=False) <= 9


def test_appointments_come_evenly_whoever_is_refused_when() -> None:
    rng = random.Random(0)
    promises, now, comes = Promises(), 0.0, []
    for number in range(400):
        now += rng.expovariate(100)
        comes.append(now + promises.promise(number.to_bytes(2), now=now, wait_s=0.1, each_s=0.1))
    comes.sort()
    told = [sum(at <= one < at + 1 for one in comes) for at in range(5, int(comes[-1]) - 5)]
    # At most what is told of a device that serves ten a second while half are expected to come.
    assert max(told) <= 10 * 0.8 / 0.5 + 1


def test_newcomers_leave_room_for_those_who_are_due() -> None:
    def room_ms(due: int) -> float:
        promises = Promises()
        for number in range(due):
            promises.promise(number.to_bytes(2), now=0.0, wait_s=1.0, each_s=0.01)
        return 1e3 * (
            promises.newcomers_room(now=0.9, deadline=1.4, alone_s=0.01, each_s=0.05) - 0.9
        )

    assert room_ms(0) == pytest.approx(500)
    assert room_ms(4) == pytest.approx(0.85 * 500 - 4 * 0.5 * 50)
    assert room_ms(15) == pytest.approx(0.1 * 500 + 10)  # the device never idles


@pytest.mark.parametrize(("over", "a_second"), [(2.0, 15.0), (1.3, 15.0), (2.0, 150.0)])
def test_under_lasting_overload_who_comes_when_told_gets_in(over: float, a_second: float) -> None:
    """The device serves at an even rate; newcomers come at random, and return once if refused."""
    rng, promises = random.Random(1), Promises()
    each_s, slo_s, now, number = 1 / a_second, 0.5, 0.0, 0
    coming: list[tuple[float, int, bool]] = []
    while now < 60:
        now += rng.expovariate(a_second * over)
        coming.append((now, number, False))
        number += 1
    heapq.heapify(coming)
    busy_until, back, got_in, served = 0.0, 0, 0, 0
    while coming:
        now, who, returns = heapq.heappop(coming)
        if now > 60:
            break
        key = who.to_bytes(4)
        finish = max(busy_until, now) + each_s
        room = now + slo_s
        if not promises.keeps(key, now):
            room = promises.newcomers_room(
                now=now, deadline=now + slo_s, alone_s=each_s, each_s=each_s
            )
        if finish <= room:
            busy_until = finish
            served += 1
        else:
            wait_s = promises.promise(key, now=now, wait_s=finish - room, each_s=each_s)
            if not returns:
                heapq.heappush(coming, (now + wait_s + rng.uniform(0, 0.1), who, True))
        back += returns
        got_in += returns and finish <= room
    assert back > 100
    assert got_in >= 0.9 * back
    assert served >= 0.95 * 60 * a_second


def test_what_is_remembered_is_bounded() -> None:
    promises = Promises()
    for number in range(30_000):
        promises.promise(number.to_bytes(3), now=0.0, wait_s=1.0, each_s=0.0)
    assert len(promises) <= 20_000
