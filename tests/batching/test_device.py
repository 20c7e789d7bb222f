"""A device that its batches share: what one takes is its own time, not that of the one before."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

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

        return Work(self._run, ALONE_S, done)

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
