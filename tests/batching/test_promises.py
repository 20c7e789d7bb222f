"""Who was told when to come back is let in then, once, and forgotten if he stays away."""

from __future__ import annotations

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
    assert waits == sorted(waits)
    assert waits[-1] - waits[0] > 1.0


def test_the_more_promises_are_kept_the_wider_they_are_spread() -> None:
    def spread(obeyed: bool) -> float:
        promises, now = Promises(), 0.0
        for number in range(200):
            key = number.to_bytes(2)
            now += promises.promise(key, now=now, wait_s=0.5, each_s=0.1)
            if obeyed:
                assert promises.keeps(key, now)
            now += 10.0
        first = promises.promise(b"a", now=now, wait_s=0.5, each_s=0.1)
        return promises.promise(b"b", now=now, wait_s=0.5, each_s=0.1) - first

    assert spread(obeyed=True) > 0.08
    assert spread(obeyed=False) < 0.02


def test_what_is_remembered_is_bounded() -> None:
    promises = Promises()
    for number in range(30_000):
        promises.promise(number.to_bytes(3), now=0.0, wait_s=1.0, each_s=0.0)
    assert len(promises) <= 20_000
