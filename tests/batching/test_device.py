"""A device: what a batch takes is its own time, and the next work stands by."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from cxrserve.batching.device import Device, Work
from cxrserve.batching.line import Priority
from cxrserve.batching.policy import Slots

ALONE_S = 0.05


class Batches:
    """Batches that a GPU would run one after the other, though two are in flight."""

    width = 1

    def __init__(self, count: int) -> None:
        self.left = count
        self.took_s: list[float] = []
        self.all_done = asyncio.Event()
        self._gpu = threading.Lock()

    def urgency(self, now: float) -> tuple[Priority, float] | None:
        return (Priority.ROUTINE, now + 10) if self.left else None

    def next_work(self, slots: Slots, _now: float) -> Work | None:
        if not self.left or not slots.free:
            return None
        self.left -= 1

        def done(_given: Any, error: BaseException | None, took_s: float) -> None:
            assert error is None
            self.took_s.append(took_s)
            if len(self.took_s) == 4:
                self.all_done.set()

        def undo() -> None:
            self.left += 1

        return Work(self._run, ALONE_S, done, undo)

    def work_ahead(self, slots: Slots, now: float) -> Work | None:
        raise AssertionError("batches of a shared device do not stand by")

    def wake_at(self) -> float | None:
        return None

    def _run(self) -> None:
        with self._gpu:
            time.sleep(ALONE_S)


async def test_batches_that_share_a_device_are_not_charged_for_each_other() -> None:
    device = Device(threads=2, independent=False, clock=time.monotonic, name="device")
    batches = Batches(4)
    device.attach(batches)
    device.dispatch()
    await asyncio.wait_for(batches.all_done.wait(), 5)
    device.close()
    # Each waited for the one before it inside the device: seen from outside twice as long.
    assert all(took_s < 1.6 * ALONE_S for took_s in batches.took_s), batches.took_s


async def test_the_second_batch_in_flight_is_planned_to_end_after_the_first() -> None:
    device = Device(threads=2, independent=False, clock=time.monotonic, name="device")
    batches = Batches(4)
    device.attach(batches)
    device.dispatch()
    first, second = sorted(device.slots().busy_until)
    assert second - first > 0.5 * ALONE_S
    await asyncio.wait_for(batches.all_done.wait(), 5)
    device.close()


@asynccontextmanager
async def one_busy_thread() -> AsyncIterator[tuple[Device, threading.Event]]:
    """A device of one thread, which is busy until the event is set."""
    device = Device(threads=1, independent=True, clock=time.monotonic, name="device")
    end = threading.Event()
    busy = asyncio.ensure_future(run(device, lambda: end.wait(5)))
    await asyncio.sleep(0)
    yield device, end
    end.set()
    await busy
    device.close()


async def run(
    device: Device, work: Callable[[], object], priority: Priority = Priority.ROUTINE
) -> object:
    return await device.run(work, priority=priority, deadline=time.monotonic() + 10)


async def test_what_stands_by_runs_although_the_loop_has_no_time() -> None:
    ran = threading.Event()
    async with one_busy_thread() as (device, end):
        waiting = asyncio.ensure_future(run(device, ran.set))
        await asyncio.sleep(0)
        end.set()
        assert ran.wait(5), "it waited for the loop, which this very line holds up"
        await waiting


async def test_who_is_more_urgent_goes_before_what_stands_by_and_nothing_is_lost() -> None:
    order: list[str] = []
    async with one_busy_thread() as (device, end):
        others = [asyncio.ensure_future(run(device, partial(order.append, name))) for name in "abc"]
        await asyncio.sleep(0)
        stat = asyncio.ensure_future(run(device, partial(order.append, "stat"), Priority.STAT))
        await asyncio.sleep(0)
        end.set()
        await asyncio.gather(stat, *others)
    assert order == ["stat", "a", "b", "c"]


async def test_what_stands_by_is_not_run_when_its_caller_goes() -> None:
    order: list[str] = []
    async with one_busy_thread() as (device, end):
        gone, left = (
            asyncio.ensure_future(run(device, partial(order.append, name))) for name in ("a", "b")
        )
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        end.set()
        await left
    assert order == ["b"]


async def test_what_stands_by_counts_as_work_to_come() -> None:
    async with one_busy_thread() as (device, _):
        (before,) = device.slots().busy_until
        waiting = asyncio.ensure_future(run(device, int))
        await asyncio.sleep(0)
        (after,) = device.slots().busy_until
        assert after - before == pytest.approx(device.host_s)
        waiting.cancel()
